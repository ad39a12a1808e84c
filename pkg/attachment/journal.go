package attachment

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultDir is the state folder that both programs use unless told otherwise.
const DefaultDir = "/var/lib/cni/roce-host-device"

const (
	recordsDir = "attachments"
	suffix     = ".json"
	badSuffix  = ".bad" // set aside
	newSuffix  = ".new" // being written
)

// A Journal is the folder of records on one node.
type Journal struct {
	dir    string
	bootID string
}

// Open opens the journal in a state folder, which need not exist. procRoot is
// where proc is mounted: it tells this boot from earlier ones.
func Open(stateDir, procRoot string) (*Journal, error) {
	b, err := os.ReadFile(filepath.Join(procRoot, "sys/kernel/random/boot_id"))
	if err != nil {
		return nil, fmt.Errorf("read the boot ID: %w", err)
	}
	return &Journal{dir: stateDir, bootID: strings.TrimSpace(string(b))}, nil
}

// RecordsDir is the folder with the records' files, for whoever watches it.
func (j *Journal) RecordsDir() string { return filepath.Join(j.dir, recordsDir) }

// BootID tells this boot from others.
func (j *Journal) BootID() string { return j.bootID }

// Current tells whether a record is of this boot. What an earlier one says
// about NICs is history.
func (j *Journal) Current(r *Record) bool { return r.BootID == j.bootID }

// path is a record's file. Neither a container ID (by the CNI specification)
// nor an interface name can hold what would lead out of the folder; skel
// checks both.
func (j *Journal) path(containerID, ifName string) string {
	return filepath.Join(j.dir, recordsDir, containerID+"@"+ifName+suffix)
}

// Write begins a record: nothing may be moved before it returns, for then the
// record is on disk. The record gets the journal's version and boot ID.
func (j *Journal) Write(r *Record) error {
	f, err := j.put(r)
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	// The file's name is in the folder already: most file systems write both
	// down at once, and have nothing left to do for the folder.
	if err = errors.Join(f.Sync(), f.Close()); err == nil {
		err = syncDir(j.RecordsDir())
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// Update replaces a record in one step, for every reader. It leaves to the
// kernel when to write it to disk: only the end of this boot could lose it,
// and that makes the record history anyway. A busy disk, as while images are
// pulled, would have an ADD wait a hundred milliseconds for it.
func (j *Journal) Update(r *Record) error {
	f, err := j.put(r)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// put makes a record's file, which the caller closes.
func (j *Journal) put(r *Record) (*os.File, error) {
	r.Version, r.BootID = formatVersion, j.bootID
	if err := r.validate(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(j.RecordsDir(), 0o755); err != nil {
		return nil, err
	}
	// One name per attachment, whose lock every writer holds: what a crash
	// leaves is overwritten by the next write or removed with the record.
	path := j.path(r.ContainerID, r.IfName)
	f, err := os.OpenFile(path+newSuffix, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(append(b, '\n')); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// Read returns the record of an attachment, nil if there is none. A file that
// is no record is set aside and reported as a *BadFile error.
func (j *Journal) Read(containerID, ifName string) (*Record, error) {
	r, err := j.read(j.path(containerID, ifName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return r, err
}

// A BadFile is a journal file that is no record: cut short, or not ours.
type BadFile struct {
	Path string // where the file is now
	Err  error
}

func (e *BadFile) Error() string { return fmt.Sprintf("journal file %s: %v", e.Path, e.Err) }
func (e *BadFile) Unwrap() error { return e.Err }

func (j *Journal) read(path string) (*Record, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the journal: %w", err)
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, &BadFile{path, err}
	}
	if err := r.validate(); err != nil {
		return nil, &BadFile{path, err}
	}
	return r, nil
}

// SetAside renames a bad file, so that it is reported once and kept for a
// person to look at.
func (j *Journal) SetAside(bad *BadFile) error {
	to := bad.Path + badSuffix
	if err := os.Rename(bad.Path, to); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set a bad journal file aside: %w", err)
	}
	bad.Path = to
	return nil
}

// List returns all records, of earlier boots too, in the order of their
// files' names. Bad files do not hide the others: they come as *BadFile
// errors in bad.
func (j *Journal) List() (records []*Record, bad []*BadFile, err error) {
	entries, err := os.ReadDir(j.RecordsDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("list the journal: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		r, err := j.read(filepath.Join(j.RecordsDir(), e.Name()))
		var b *BadFile
		switch {
		case errors.Is(err, fs.ErrNotExist):
			// closed while we were reading
		case errors.As(err, &b):
			bad = append(bad, b)
		case err != nil:
			return nil, nil, err
		default:
			records = append(records, r)
		}
	}
	return records, bad, nil
}

// Remove closes an attachment's record. Removing one that is not there is no
// error.
func (j *Journal) Remove(containerID, ifName string) error {
	path := j.path(containerID, ifName)
	for _, p := range []string{path, path + newSuffix} {
		if err := os.Remove(p); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("close the journal record: %w", err)
		}
	}
	return nil
}

// An ID identifies an attachment.
type ID struct{ ContainerID, IfName string }

// Unwritten lists the attachments whose first record a crash kept from being
// written: nothing was moved for them, and Remove clears what is left.
func (j *Journal) Unwritten() ([]ID, error) {
	paths, err := filepath.Glob(filepath.Join(j.RecordsDir(), "*"+suffix+newSuffix))
	if err != nil {
		return nil, fmt.Errorf("list the journal: %w", err)
	}
	var ids []ID
	for _, path := range paths {
		record := strings.TrimSuffix(path, newSuffix)
		if _, err := os.Lstat(record); err == nil {
			continue
		}
		if containerID, ifName, ok := strings.Cut(strings.TrimSuffix(filepath.Base(record), suffix), "@"); ok {
			ids = append(ids, ID{containerID, ifName})
		}
	}
	return ids, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
