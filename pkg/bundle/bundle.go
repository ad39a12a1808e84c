package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// A Part is one file of a bundle.
type Part struct {
	Name  string
	Write func(io.Writer) error
}

// missingFile is the part that says what could not be had.
const missingFile = "missing.txt"

// Write writes a bundle: a folder with the parts, all of the given time. A part
// that fails keeps what it has written, and the part missing.txt says why there
// is no more; only what w says is an error.
func Write(w io.Writer, folder string, at time.Time, parts []Part) error {
	zip := gzip.NewWriter(w)
	archive := tar.NewWriter(zip)
	put := func(name string, content []byte) error {
		err := archive.WriteHeader(&tar.Header{Name: path.Join(folder, name), Mode: 0o600, Size: int64(len(content)), ModTime: at})
		if err != nil {
			return err
		}
		_, err = archive.Write(content)
		return err
	}
	var missing bytes.Buffer
	for _, part := range parts {
		var content bytes.Buffer
		if err := part.Write(&content); err != nil {
			fmt.Fprintf(&missing, "%s: %v\n", part.Name, err)
		}
		if content.Len() == 0 {
			continue
		}
		if err := put(part.Name, redact(content.Bytes())); err != nil {
			return err
		}
	}
	if missing.Len() > 0 {
		if err := put(missingFile, redact(missing.Bytes())); err != nil {
			return err
		}
	}
	return errors.Join(archive.Close(), zip.Close())
}

// Tail is what a file ends with: at most so many bytes, from the beginning of a
// line on.
func Tail(file string, most int64) func(io.Writer) error {
	return func(w io.Writer) error {
		f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NONBLOCK, 0) // a FIFO must not keep us
		if err != nil {
			return err
		}
		defer f.Close()
		content, err := lastOf(f, most)
		if err != nil {
			return err
		}
		_, err = w.Write(content)
		return err
	}
}

func lastOf(f *os.File, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is no file", f.Name())
	}
	skip := info.Size() - most
	if skip <= 0 { // or a file of proc, which has no size
		return io.ReadAll(io.LimitReader(f, most))
	}
	if _, err := f.Seek(skip-1, io.SeekStart); err != nil {
		return nil, err
	}
	content, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	_, whole, _ := bytes.Cut(content, []byte("\n"))
	return whole, nil
}
