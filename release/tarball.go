package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"time"
)

// archive is a tree as a tar.gz, below one folder: owner root, the same time
// everywhere, in the order of the names.
func archive(folder string, t *tree, date time.Time) ([]byte, error) {
	var b bytes.Buffer
	packed := gzip.NewWriter(&b)
	w := tar.NewWriter(packed)
	for _, path := range t.paths() {
		f := t.files[path]
		header := &tar.Header{Typeflag: tar.TypeReg, Name: folder + "/" + path, Mode: f.mode, Size: int64(len(f.content)), ModTime: date}
		if err := w.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	err := packed.Close()
	return b.Bytes(), err
}

// sums is a file for `sha256sum --check`.
func sums(files map[string][]byte) []byte {
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(&b, "%s  %s\n", digestOf(files[name]), name)
	}
	return b.Bytes()
}

func digestOf(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }
