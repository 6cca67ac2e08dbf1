// Prints what BuildKit's own linter finds in the cases of standard input; see ../../README.md.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"strings"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/dockerfile/dockerfile2llb"
	"github.com/moby/buildkit/solver/pb"
	digest "github.com/opencontainers/go-digest"
	ocispecs "github.com/opencontainers/image-spec/specs-go/v1"
)

type resolver struct{}

func (resolver) ResolveImageConfig(ctx context.Context, ref string, opt sourceresolver.Opt) (string, digest.Digest, []byte, error) {
	img := map[string]any{"architecture": "amd64", "os": "linux", "config": map[string]any{"Env": []string{"PATH=/bin", "BASE=1"}}, "rootfs": map[string]any{"type": "layers", "diff_ids": []string{"sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}}}
	dt, _ := json.Marshal(img)
	return ref, "", dt, nil
}

func lint(w io.Writer, src string) {
	p := ocispecs.Platform{OS: "linux", Architecture: "amd64"}
	st := llb.Scratch()
	def, _ := st.Marshal(context.Background())
	sm := llb.NewSourceMap(&st, "Dockerfile", "Dockerfile", []byte(src))
	sm.Definition = def
	opt := dockerfile2llb.ConvertOpt{MetaResolver: resolver{}, TargetPlatform: &p, SourceMap: sm}
	caps := pb.Caps.CapSet(pb.Caps.All())
	opt.LLBCaps = &caps
	res, err := dockerfile2llb.DockerfileLint(context.Background(), []byte(src), opt)
	if err != nil {
		fmt.Fprintf(w, "error %s\n", err)
		return
	}
	var lines []string
	for _, r := range res.Warnings {
		start, end := int32(0), int32(0)
		for i, rg := range r.Location.Ranges {
			if i == 0 {
				start = rg.Start.Line
			}
			end = rg.End.Line
		}
		lines = append(lines, fmt.Sprintf("%s %d-%d %s", r.RuleName, start, end, r.Detail))
	}
	sort.Strings(lines)
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
	if res.Error != nil {
		fmt.Fprintf(w, "error %s\n", res.Error.Message)
	}
}


func main() {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	var out bytes.Buffer
	for _, part := range strings.Split(string(in), "=====> ")[1:] {
		name, src, _ := strings.Cut(part, "\n")
		fmt.Fprintf(&out, "=====> %s\n", name)
		lint(&out, src)
	}
	os.Stdout.Write(out.Bytes())
}
