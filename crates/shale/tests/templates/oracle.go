// The oracle of the corpus: runs templates with Go's text/template over value.json and prints one JSON line for each.
//
// To write expected.jsonl anew (done with Go 1.26):
//
//	jq -c .template expected.jsonl | uniq | go run oracle.go value.json > new.jsonl && mv new.jsonl expected.jsonl
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"text/template"
)

func plain(v any) any {
	switch t := v.(type) {
	case map[string]any:
		for k, e := range t {
			t[k] = plain(e)
		}
		return t
	case []any:
		for i, e := range t {
			t[i] = plain(e)
		}
		return t
	case json.Number:
		if i, err := t.Int64(); err == nil {
			return int(i)
		}
		f, _ := t.Float64()
		return f
	}
	return v
}

func main() {
	text, _ := os.ReadFile(os.Args[1])
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		panic(err)
	}
	value = plain(value)
	funcs := template.FuncMap{
		"json": func(v any) string {
			b := &bytes.Buffer{}
			e := json.NewEncoder(b)
			e.SetEscapeHTML(false)
			e.Encode(v)
			return strings.TrimSpace(b.String())
		},
		"split": strings.Split,
		"join": func(l []any, s string) string {
			var t []string
			for _, e := range l {
				t = append(t, fmt.Sprint(e))
			}
			return strings.Join(t, s)
		},
		"title": strings.Title, "lower": strings.ToLower, "upper": strings.ToUpper,
		"pad": func(s string, p, q int) string {
			if s == "" {
				return s
			}
			return strings.Repeat(" ", p) + s + strings.Repeat(" ", q)
		},
		"truncate": func(s string, n int) string {
			if len(s) < n {
				return s
			}
			return s[:n]
		},
	}
	in := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	type result struct {
		Template string `json:"template"`
		Missing  string `json:"missing"`
		Output   string `json:"output"`
		Error    string `json:"error,omitempty"`
	}
	for in.Scan() {
		if in.Text() == "" {
			continue
		}
		var source string
		if err := json.Unmarshal(in.Bytes(), &source); err != nil {
			panic(in.Text() + err.Error())
		}
		for _, missing := range []string{"default", "error"} {
			r := result{Template: source, Missing: missing}
			t, err := template.New("").Funcs(funcs).Option("missingkey=" + missing).Parse(source)
			if err == nil {
				b := &bytes.Buffer{}
				err = t.Execute(b, value)
				r.Output = b.String()
			}
			if err != nil {
				r.Error = err.Error()
			}
			out.Encode(r)
			if err != nil && missing == "default" && r.Output == "" && strings.Count(r.Error, "executing") == 0 {
				break
			}
		}
	}
}
