// Lists the entries of each archive in a directory as Go's archive/tar reads them.
package main

import (
	"archive/tar"
	"bufio"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
)

func main() {
	files, err := os.ReadDir(os.Args[1])
	if err != nil {
		panic(err)
	}
	sort.Slice(files, func(i, j int) bool { return files[i].Name() < files[j].Name() })
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for _, file := range files {
		fmt.Fprintln(out, "file", file.Name())
		list(out, filepath.Join(os.Args[1], file.Name()))
	}
}

func list(out io.Writer, path string) {
	file, err := os.Open(path)
	if err != nil {
		panic(err)
	}
	defer file.Close()
	reader := tar.NewReader(bufio.NewReaderSize(file, 1<<16))
	for {
		header, err := reader.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Fprintln(out, "error")
			return
		}
		kind := header.Typeflag
		if !(kind >= '0' && kind <= '6' || kind == 'S') {
			continue
		}
		size := header.Size
		if kind >= '1' && kind <= '6' {
			size = 0
		}
		if size < 64<<20 {
			if _, err := io.Copy(io.Discard, reader); err != nil {
				fmt.Fprintln(out, "error")
				return
			}
		}
		if kind == 'S' {
			kind = '0'
		}
		fmt.Fprintf(out, "%s %c %o %d %d %d %d.%09d %s %d,%d\n", hex.EncodeToString([]byte(header.Name)), kind,
			header.Mode&07777, header.Uid, header.Gid, size, header.ModTime.Unix(), header.ModTime.Nanosecond(),
			hex.EncodeToString([]byte(header.Linkname)), header.Devmajor, header.Devminor)
	}
}
