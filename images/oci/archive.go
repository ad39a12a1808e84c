package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// layer is the tar of an image's root folder.
func (o options) layer(root string) ([]byte, error) {
	var b bytes.Buffer
	err := o.archive(root, &b)
	return b.Bytes(), err
}

// archive writes what is in a folder, in the order of its names: owner root, the
// commit's time, and of the modes only whether a file can be run, whatever the
// build machine's user, clock and umask.
func (o options) archive(folder string, out io.Writer) error {
	w := tar.NewWriter(out)
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		header, content, err := o.entry(folder, path, entry)
		if err != nil {
			return err
		}
		if err := w.WriteHeader(header); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		_, err = w.Write(content)
		return err
	})
	if err != nil {
		return err
	}
	return w.Close()
}

// entry is one of the archive's, with its content.
func (o options) entry(folder, path string, entry fs.DirEntry) (*tar.Header, []byte, error) {
	name, err := filepath.Rel(folder, path)
	if err != nil {
		return nil, nil, err
	}
	header := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, ModTime: o.created}
	switch entry.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Name, header.Mode = tar.TypeDir, header.Name+"/", 0o755
		return header, nil, nil
	case fs.ModeSymlink:
		header.Typeflag, header.Mode = tar.TypeSymlink, 0o777
		header.Linkname, err = os.Readlink(path)
		return header, nil, err
	case 0:
	default:
		return nil, nil, fmt.Errorf("%s is a %s, which no image here has", path, entry.Type())
	}
	info, err := entry.Info()
	if err != nil {
		return nil, nil, err
	}
	if info.Mode()&0o100 != 0 {
		header.Mode = 0o755
	}
	content, err := os.ReadFile(path)
	header.Typeflag, header.Size = tar.TypeReg, int64(len(content))
	return header, content, err
}
