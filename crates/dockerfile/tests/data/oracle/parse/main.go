// Prints what BuildKit's own packages make of standard input; see ../../README.md.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"
)

func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < 0x20 || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func list(items []string) string {
	quoted := make([]string, len(items))
	for i, s := range items {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func nodeArgs(n *parser.Node) []string {
	var out []string
	for n = n.Next; n != nil; n = n.Next {
		if len(n.Children) == 0 {
			out = append(out, n.Value)
		} else {
			out = append(out, n.Children[0].Value)
			// An unknown trigger has one empty word in place of its arguments.
			if args := nodeArgs(n.Children[0]); len(args) != 1 || args[0] != "" {
				out = append(out, args...)
			}
		}
	}
	return out
}

func dumpNodes(w io.Writer, src string) error {
	res, err := parser.Parse(strings.NewReader(src))
	if err != nil {
		fmt.Fprintf(w, "syntax error: %s\n", err)
		return err
	}
	for _, c := range res.AST.Children {
		fmt.Fprintf(w, "node %d-%d %s", c.StartLine, c.EndLine, quote(c.Value))
		if len(c.Flags) > 0 {
			fmt.Fprintf(w, " flags=%s", list(c.Flags))
		}
		if c.Attributes["json"] {
			fmt.Fprintf(w, " json")
		}
		fmt.Fprintf(w, " args=%s original=%s\n", list(nodeArgs(c)), quote(c.Original))
		for _, h := range c.Heredocs {
			fmt.Fprintf(w, "  heredoc %s expand=%t chomp=%t %s\n", quote(h.Name), h.Expand, h.Chomp, quote(h.Content))
		}
	}
	for range res.Warnings {
		fmt.Fprintf(w, "empty continuation\n")
	}
	return nil
}

func pairs(kv instructions.KeyValuePairs) string {
	var out []string
	for _, p := range kv {
		sep := "="
		if p.NoDelim {
			sep = " "
		}
		out = append(out, quote(p.Key)+sep+quote(p.Value))
	}
	return strings.Join(out, ", ")
}

func commandLine(c instructions.ShellDependantCmdLine) string {
	form := "exec"
	if c.PrependShell {
		form = "shell"
	}
	return form + " " + list(c.CmdLine)
}

func copyText(s instructions.SourcesAndDest, excludes []string) string {
	out := list(s.SourcePaths) + " to " + quote(s.DestPath)
	for _, c := range s.SourceContents {
		out += fmt.Sprintf(" inline %s expand=%t %s", quote(c.Path), c.Expand, quote(c.Data))
	}
	if len(excludes) > 0 {
		out += " exclude=" + list(excludes)
	}
	return out
}

func option(name, v string) string {
	if v == "" {
		return ""
	}
	return " " + name + "=" + quote(v)
}

func flag(name string, on bool) string {
	if on {
		return " " + name
	}
	return ""
}

func optBool(name string, v *bool) string {
	if v == nil {
		return ""
	}
	return fmt.Sprintf(" %s=%t", name, *v)
}

func dumpCommand(w io.Writer, c instructions.Command) {
	switch c := c.(type) {
	case *instructions.AddCommand:
		fmt.Fprintf(w, "ADD %s%s%s%s%s%s%s\n", copyText(c.SourcesAndDest, c.ExcludePatterns), option("chown", c.Chown), option("chmod", c.Chmod), option("checksum", c.Checksum), flag("link", c.Link), optBool("keep-git-dir", c.KeepGitDir), optBool("unpack", c.Unpack))
	case *instructions.CopyCommand:
		fmt.Fprintf(w, "COPY %s%s%s%s%s%s\n", copyText(c.SourcesAndDest, c.ExcludePatterns), option("from", c.From), option("chown", c.Chown), option("chmod", c.Chmod), flag("link", c.Link), flag("parents", c.Parents))
	case *instructions.ArgCommand:
		var out []string
		for _, a := range c.Args {
			if a.Value == nil {
				out = append(out, quote(a.Key))
			} else {
				out = append(out, quote(a.Key)+"="+quote(*a.Value))
			}
		}
		fmt.Fprintf(w, "ARG %s\n", strings.Join(out, ", "))
	case *instructions.EnvCommand:
		fmt.Fprintf(w, "ENV %s\n", pairs(c.Env))
	case *instructions.LabelCommand:
		fmt.Fprintf(w, "LABEL %s\n", pairs(c.Labels))
	case *instructions.CmdCommand:
		fmt.Fprintf(w, "CMD %s\n", commandLine(c.ShellDependantCmdLine))
	case *instructions.EntrypointCommand:
		fmt.Fprintf(w, "ENTRYPOINT %s\n", commandLine(c.ShellDependantCmdLine))
	case *instructions.RunCommand:
		fmt.Fprintf(w, "RUN %s", commandLine(c.ShellDependantCmdLine))
		if n := instructions.GetNetwork(c); n != "default" {
			fmt.Fprintf(w, " network=%s", n)
		}
		if s := instructions.GetSecurity(c); s != "sandbox" {
			fmt.Fprintf(w, " security=%s", s)
		}
		fmt.Fprintln(w)
		for _, f := range c.Files {
			fmt.Fprintf(w, "  file %s chomp=%t %s\n", quote(f.Name), f.Chomp, quote(f.Data))
		}
		for _, d := range instructions.GetDevices(c) {
			fmt.Fprintf(w, "  device %s required=%t\n", quote(d.Name), d.Required)
		}
		if err := c.Expand(func(w string) (string, error) { return w, nil }); err != nil {
			fmt.Fprintf(w, "  mount error: %s\n", err)
			return
		}
		for _, m := range instructions.GetMounts(c) {
			fmt.Fprintf(w, "  mount %s%s%s%s", m.Type, option("from", m.From), option("source", m.Source), option("target", m.Target))
			fmt.Fprintf(w, "%s%s%s", flag("readonly", m.ReadOnly), option("id", m.CacheID), option("sharing", string(m.CacheSharing)))
			fmt.Fprintf(w, "%s", flag("required", m.Required))
			if m.SizeLimit != 0 {
				fmt.Fprintf(w, " size=%d", m.SizeLimit)
			}
			if m.Env != nil {
				fmt.Fprintf(w, " env=%s", quote(*m.Env))
			}
			if m.Mode != nil {
				fmt.Fprintf(w, " mode=%o", *m.Mode)
			}
			if m.UID != nil {
				fmt.Fprintf(w, " uid=%d", *m.UID)
			}
			if m.GID != nil {
				fmt.Fprintf(w, " gid=%d", *m.GID)
			}
			fmt.Fprintln(w)
		}
	case *instructions.ExposeCommand:
		fmt.Fprintf(w, "EXPOSE %s\n", list(c.Ports))
	case *instructions.HealthCheckCommand:
		h := c.Health
		fmt.Fprintf(w, "HEALTHCHECK %s interval=%d timeout=%d start-period=%d start-interval=%d retries=%d\n", list(h.Test), h.Interval, h.Timeout, h.StartPeriod, h.StartInterval, h.Retries)
	case *instructions.MaintainerCommand:
		fmt.Fprintf(w, "MAINTAINER %s\n", quote(c.Maintainer))
	case *instructions.OnbuildCommand:
		fmt.Fprintf(w, "ONBUILD %s\n", quote(c.Expression))
	case *instructions.ShellCommand:
		fmt.Fprintf(w, "SHELL %s\n", list(c.Shell))
	case *instructions.StopSignalCommand:
		fmt.Fprintf(w, "STOPSIGNAL %s\n", quote(c.Signal))
	case *instructions.UserCommand:
		fmt.Fprintf(w, "USER %s\n", quote(c.User))
	case *instructions.VolumeCommand:
		fmt.Fprintf(w, "VOLUME %s\n", list(c.Volumes))
	case *instructions.WorkdirCommand:
		fmt.Fprintf(w, "WORKDIR %s\n", quote(c.Path))
	default:
		panic(fmt.Sprintf("%T", c))
	}
}

func dumpInstructions(w io.Writer, src string) {
	res, _ := parser.Parse(strings.NewReader(src))
	stages, meta, err := instructions.Parse(res.AST, nil)
	if err != nil {
		// Of equally near names BuildKit takes any, another one in each run.
		message := err.Error()
		if at := strings.Index(message, " (did you mean "); at >= 0 && strings.Contains(message, "unknown instruction") {
			message = message[:at]
		}
		fmt.Fprintf(w, "instruction error: %s\n", message)
		return
	}
	for i := range meta {
		fmt.Fprintf(w, "meta ")
		dumpCommand(w, &meta[i])
	}
	for _, s := range stages {
		fmt.Fprintf(w, "FROM %s%s%s\n", quote(s.BaseName), option("as", s.Name), option("platform", s.Platform))
		for _, c := range s.Commands {
			dumpCommand(w, c)
		}
	}
}

type env map[string]string

func (e env) Get(k string) (string, bool) { v, ok := e[k]; return v, ok }
func (e env) Keys() []string              { return nil }

var fixed = env{"S": "foobarfoo", "E": "", "SP": "a  b c", "P": "/usr/local/bin", "Q": `x"y'z`, "D": "a$b", "B": `p\q`, "N": "12", "L": "aaa", "STAR": "a*b?c", "v1": "one", "_u": "und"}

func keys(m map[string]struct{}) []string {
	out := []string{}
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

func expand(w io.Writer, word string) {
	for _, esc := range []rune{'\\', '`'} {
		lex := shell.NewLex(esc)
		res, err := lex.ProcessWordWithMatches(word, fixed)
		if err != nil {
			fmt.Fprintf(w, "  %c error %s\n", esc, quote(err.Error()))
			continue
		}
		fmt.Fprintf(w, "  %c %s unset=%s\n", esc, quote(res.Result), list(keys(res.Unmatched)))
	}
	lex := shell.NewLex('\\')
	words, err := lex.ProcessWords(word, fixed)
	if err == nil {
		fmt.Fprintf(w, "  words %s\n", list(words))
	}
	lex = shell.NewLex('\\')
	lex.SkipProcessQuotes = true
	res, err := lex.ProcessWordWithMatches(word, fixed)
	if err == nil {
		fmt.Fprintf(w, "  raw %s\n", quote(res.Result))
	}
}

var paths = strings.Split(string(must(os.ReadFile("paths.txt"))), "\n")

func must(b []byte, err error) []byte { return b }

func ignore(w io.Writer, src string) {
	pats, err := ignorefile.ReadAll(strings.NewReader(src))
	if err != nil {
		fmt.Fprintf(w, "error %s\n", err)
		return
	}
	pm, err := patternmatcher.New(pats)
	if err != nil {
		fmt.Fprintf(w, "error %s\n", err)
		return
	}
	for _, p := range paths {
		if p == "" {
			continue
		}
		m, err := pm.MatchesOrParentMatches(p)
		if err != nil {
			fmt.Fprintf(w, "error %s\n", err)
			return
		}
		if m {
			fmt.Fprintf(w, "%s\n", p)
		}
	}
}

func main() {
	mode := os.Args[1]
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	if mode == "expand" {
		for _, word := range strings.Split(strings.TrimRight(string(in), "\n"), "\n") {
			fmt.Fprintf(&out, "%s\n", word)
			expand(&out, word)
		}
	} else {
		for _, part := range strings.Split(string(in), "=====> ")[1:] {
			name, src, ok := strings.Cut(part, "\n")
			if !ok {
				panic(errors.New("case without a body: " + part))
			}
			fmt.Fprintf(&out, "=====> %s\n", name)
			switch mode {
			case "parse":
				if dumpNodes(&out, src) == nil {
					dumpInstructions(&out, src)
				}
			case "ignore":
				ignore(&out, src)
			}
		}
	}
	os.Stdout.Write(out.Bytes())
}
