// Command image writes a container image of a folder, for `ctr images import`:
//
//	image -name NAME -root FOLDER -out FILE [ENTRYPOINT...]
package main

import (
	"archive/tar"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/compression"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	image := flag.String("name", "", "the image's `name`")
	root := flag.String("root", "", "the `folder` that is its root")
	out := flag.String("out", "", "the `file` to write")
	flag.Parse()
	if err := write(*image, *root, *out, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(image, root, out string, entrypoint []string) error {
	tag, err := name.NewTag(image)
	if err != nil {
		return err
	}
	// An emulated processor takes its time to decompress.
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return archive(root), nil }, tarball.WithCompression(compression.None))
	if err != nil {
		return err
	}
	made, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	config, err := made.ConfigFile()
	if err != nil {
		return err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", "amd64"
	config.Config = v1.Config{Entrypoint: entrypoint, Env: []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin"}}
	if made, err = mutate.ConfigFile(made, config); err != nil {
		return err
	}
	return tarball.WriteToFile(out, tag, made)
}

// archive is a folder as a layer, owned by root.
func archive(root string) io.ReadCloser {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || path == root {
				return err
			}
			return add(t, root, path, entry)
		})
		if err == nil {
			err = t.Close()
		}
		w.CloseWithError(err)
	}()
	return r
}

func add(t *tar.Writer, root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	if err := t.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	_, err = io.Copy(t, file)
	return err
}
