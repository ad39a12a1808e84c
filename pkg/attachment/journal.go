package attachment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/durable"
	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// DefaultDir is the state folder that both programs use unless told otherwise.
const DefaultDir = "/var/lib/cni/roce-host-device"

// The folders of the state folder, besides that of the locks and that of the
// refusals.
const (
	recordsDir = "attachments"
	// copiesDir has a copy of each record: should the records be lost, or one
	// of them be damaged, the NIC is still known to be its pod's.
	copiesDir = "copies"
	// owedDir has the records of NICs that are back on the host, but not yet as
	// they were.
	owedDir = "owed"
)

const (
	suffix    = ".json"
	badSuffix = ".bad" // set aside
	newSuffix = ".new" // being written
)

// A Journal is the folder of records on one node.
type Journal struct {
	dir    string
	bootID string
}

// longestRecord is in bytes. A netdev may have 64 KiB of alternative names, and
// a configuration may be of any length.
const longestRecord = 1 << 20

// Open opens the journal in a state folder, which need not exist; one that
// users other than root can write to is refused. procRoot is where proc is
// mounted: it tells this boot from earlier ones.
func Open(stateDir, procRoot string) (*Journal, error) {
	for _, dir := range []string{stateDir, filepath.Join(stateDir, recordsDir), filepath.Join(stateDir, copiesDir)} {
		if err := trusted.CheckDir(dir); err != nil {
			return nil, fmt.Errorf("the state folder: %w", err)
		}
	}
	bootID, err := kernelfile.Read(filepath.Join(procRoot, "sys/kernel/random/boot_id"))
	if err != nil {
		return nil, fmt.Errorf("read the boot ID: %w", err)
	}
	return &Journal{dir: stateDir, bootID: bootID}, nil
}

// RecordsDir is the folder with the records' files, for whoever watches it.
func (j *Journal) RecordsDir() string { return filepath.Join(j.dir, recordsDir) }

// BootID tells this boot from others.
func (j *Journal) BootID() string { return j.bootID }

// Current tells whether a record is of this boot. What an earlier one says
// about NICs is history.
func (j *Journal) Current(r *Record) bool { return r.BootID == j.bootID }

// An ID identifies an attachment, or the CNI call that made some.
type ID struct{ ContainerID, IfName string }

// file is the name of an attachment's file. Neither a container ID (by the CNI
// specification) nor an interface name can hold what would lead out of the
// folder; skel checks both.
func (id ID) file() string { return id.ContainerID + "@" + id.IfName + suffix }

// path is a record's file, copy that of its copy.
func (j *Journal) path(id ID) string { return filepath.Join(j.dir, recordsDir, id.file()) }
func (j *Journal) copy(id ID) string { return filepath.Join(j.dir, copiesDir, id.file()) }

// Write begins a record: nothing may be moved before it returns, because only
// then is the record on disk. The record gets the journal's version and boot
// ID, which later writes leave as it is.
func (j *Journal) Write(r *Record) error {
	b, err := j.encode(r)
	if err == nil {
		err = j.write(r.ID(), b)
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

func (j *Journal) write(id ID, content []byte) error {
	f, err := replace(j.path(id), content)
	if err != nil {
		return err
	}
	// The copy need not be on disk, so it is made while the record is synced.
	copied := make(chan error, 1)
	go func() { copied <- put(j.copy(id), content) }()
	// The file's name is in the folder already: most file systems write both
	// down at once, and have nothing left to do for the folder.
	if err = errors.Join(f.Sync(), f.Close()); err == nil {
		err = durable.SyncFolder(j.RecordsDir())
	}
	return errors.Join(err, <-copied)
}

// Update replaces a record in one step. The kernel chooses when to write it to
// disk: only the end of this boot could lose it, and then the record is history
// anyway. On a busy disk, as while images are pulled, a sync would cost an ADD
// a hundred milliseconds.
func (j *Journal) Update(r *Record) error {
	b, err := j.encode(r)
	if err == nil {
		err = put(j.copy(r.ID()), b)
	}
	if err == nil {
		err = put(j.path(r.ID()), b)
	}
	if err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return nil
}

// put is replace for a file that need not be on disk.
func put(path string, content []byte) error {
	f, err := replace(path, content)
	if err != nil {
		return err
	}
	return f.Close()
}

func (j *Journal) encode(r *Record) ([]byte, error) {
	r.Version, r.BootID = formatVersion, cmp.Or(r.BootID, j.bootID)
	if err := r.validate(); err != nil {
		return nil, err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err == nil && len(b) >= longestRecord { // for a deeply nested configuration
		b, err = json.Marshal(r)
	}
	if err == nil && len(b) >= longestRecord {
		err = fmt.Errorf("it is %d bytes long and must be shorter than %d; is the network configuration that long?", len(b), longestRecord)
	}
	return append(b, '\n'), err
}

// replace puts content into a file, which appears whole or not at all, and
// which the caller closes.
//
// Every writer holds a lock that keeps others from the same file: the NIC's for
// its record and for what is owed to it, that of RDMA moves for a refusal. So
// there is one name to write under for each file, and what a crash leaves is
// removed by the next write or with the file.
func replace(path string, content []byte) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL | unix.O_NOFOLLOW
	f, err := os.OpenFile(path+newSuffix, flags, 0o600)
	if errors.Is(err, fs.ErrExist) { // whatever it is: to open a FIFO would be to wait for a reader
		if err = clearAway(path + newSuffix); err == nil {
			f, err = os.OpenFile(path+newSuffix, flags, 0o600)
		}
	}
	if err != nil {
		return nil, err
	}
	if _, err = f.Write(content); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(f.Name()))
	}
	return f, nil
}

// Read returns the record of an attachment, nil if there is none. If its file
// is lost, is not a record or cannot be read, its copy is used; bad are the files
// that were not records. An error means that it cannot be read at the moment.
func (j *Journal) Read(id ID) (r *Record, bad []*BadFile, err error) {
	var unread error
	for _, path := range []string{j.path(id), j.copy(id)} {
		r, err := read(path)
		if err == nil && r.ID() != id {
			err = fmt.Errorf("it belongs to container %s, interface %s", r.ContainerID, r.IfName)
		}
		switch {
		case err == nil:
			return r, bad, nil
		case trusted.Unread(err): // it may well be one
			unread = cmp.Or(unread, err)
		case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.ENAMETOOLONG):
			bad = append(bad, &BadFile{Path: path, Err: err})
		}
	}
	if unread != nil {
		return nil, nil, fmt.Errorf("read the journal: %w", unread)
	}
	return nil, bad, nil
}

// A BadFile is a journal file that is not a record: cut short, or not ours.
type BadFile struct {
	Path string // where the file is now
	Err  error
	// Unread: it may be one, but cannot be read at the moment. It stays where it is.
	Unread bool
}

func (e *BadFile) Error() string { return fmt.Sprintf("journal file %s: %v", e.Path, e.Err) }
func (e *BadFile) Unwrap() error { return e.Err }

// read reads a record. Unless the file is missing or cannot be read
// (trusted.Unread), an error is the file's fault. Neither must stop operations on
// other NICs.
func read(path string) (*Record, error) {
	b, err := trusted.ReadFile(path, longestRecord)
	if err != nil {
		return nil, err
	}
	r := &Record{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, err
	}
	return r, r.validate()
}

// SetAside renames a bad file, so that it is reported once and kept for a
// person to look at.
func (j *Journal) SetAside(bad *BadFile) error {
	if bad.Unread {
		return nil
	}
	to, err := moveAside(bad.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("set a bad journal file aside: %w", err)
	}
	bad.Path = to
	return nil
}

// Aside lists the files that were set aside.
func (j *Journal) Aside() (files []string, err error) {
	for _, dir := range []string{recordsDir, copiesDir} {
		found, err := filepath.Glob(filepath.Join(j.dir, dir, "*"+badSuffix+"*"))
		if err != nil {
			return nil, fmt.Errorf("list the journal: %w", err)
		}
		files = append(files, found...)
	}
	return files, nil
}

// moveAside renames a file or a folder. One takes the place of an earlier one, if
// that can be: a folder with something in it stays.
func moveAside(path string) (to string, err error) {
	for number := range 10 {
		to = path + badSuffix
		if number > 0 {
			to += fmt.Sprint(number)
		}
		if err = os.Rename(path, to); err == nil || errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return to, err
}

// clearAway removes what is where a file of the journal is to be. A folder with
// something in it is not the journal's: it is moved aside.
func clearAway(path string) error {
	err := os.Remove(path)
	if errors.Is(err, unix.ENOTEMPTY) {
		_, err = moveAside(path)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENAMETOOLONG) {
		return nil // a name that no file has
	}
	return err
}

// List returns all records but those of the attachments in but, of earlier boots
// too, in the order of their files' names. Bad files do not hide the others, and
// neither do those that cannot be read, unless that is for want of room.
func (j *Journal) List(but ...ID) (records []*Record, bad []*BadFile, err error) {
	return j.list(trusted.Transient, func(id ID) bool { return !slices.Contains(but, id) })
}

// OfContainer returns the records of a container, as List does; but what cannot be
// read of them is an error: without it the container would seem to have nothing.
func (j *Journal) OfContainer(id string) (records []*Record, bad []*BadFile, err error) {
	return j.list(trusted.Unread, func(file ID) bool { return file.ContainerID == id })
}

func (j *Journal) list(stops func(error) bool, wanted func(ID) bool) (records []*Record, bad []*BadFile, err error) {
	names := map[string]bool{}
	for _, dir := range []string{recordsDir, copiesDir} {
		entries, err := os.ReadDir(filepath.Join(j.dir, dir))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, nil, fmt.Errorf("list the journal: %w", err)
		}
		for _, e := range entries {
			names[e.Name()] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(names)) {
		id, ok := idOf(name)
		if !ok || !wanted(id) {
			continue
		}
		r, b, err := j.Read(id)
		if err != nil && stops(err) {
			return nil, nil, err
		}
		if err != nil {
			b = []*BadFile{{Path: j.path(id), Err: err, Unread: true}}
		}
		bad = append(bad, b...)
		if r != nil { // else it was closed while we were reading
			records = append(records, r)
		}
	}
	return records, bad, nil
}

// idOf is the way back from ID.file.
func idOf(file string) (id ID, ok bool) {
	name, ok := strings.CutSuffix(file, suffix)
	if !ok {
		return ID{}, false
	}
	id.ContainerID, id.IfName, ok = strings.Cut(name, "@")
	return id, ok
}

// Remove closes an attachment's record, if there is one.
func (j *Journal) Remove(id ID) error {
	for _, path := range []string{j.copy(id), j.path(id)} {
		if err := removeFile(path); err != nil {
			return fmt.Errorf("close the journal record: %w", err)
		}
	}
	return nil
}

// removeFile is the undo of replace, wherever that was interrupted.
func removeFile(path string) error {
	for _, p := range []string{path + newSuffix, path} {
		if err := clearAway(p); err != nil {
			return err
		}
	}
	return nil
}

// Clear removes what an attachment left that is Unwritten. Its record, should it
// be there by now, stays.
func (j *Journal) Clear(id ID) error {
	for _, path := range []string{j.copy(id), j.path(id)} {
		if err := clearAway(path + newSuffix); err != nil {
			return fmt.Errorf("clear the journal: %w", err)
		}
	}
	return nil
}

// Unwritten lists the attachments whose first record was never written because
// of a crash: nothing was moved for them, and Clear removes what is left.
func (j *Journal) Unwritten() ([]ID, error) {
	ids := map[ID]bool{}
	for _, dir := range []string{recordsDir, copiesDir} {
		paths, err := filepath.Glob(filepath.Join(j.dir, dir, "*"+suffix+newSuffix))
		if err != nil {
			return nil, fmt.Errorf("list the journal: %w", err)
		}
		for _, path := range paths {
			id, ok := idOf(strings.TrimSuffix(filepath.Base(path), newSuffix))
			if !ok {
				continue
			}
			if _, err := os.Lstat(j.path(id)); err != nil {
				ids[id] = true
			}
		}
	}
	return slices.Collect(maps.Keys(ids)), nil
}
