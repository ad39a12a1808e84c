package attachment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// Owe notes that a record's NIC is on the host but not yet as it was: another
// link has its name, or the host's network manager has yet to configure it. The
// attachment can end all the same.
func (j *Journal) Owe(r *Record) error {
	b, err := j.encode(r)
	if err == nil {
		err = put(j.owed(r), b)
	}
	if err != nil {
		return fmt.Errorf("note what is owed to the NIC: %w", err)
	}
	return nil
}

// Owed lists the records of NICs to which something is owed, and removes what is
// no note, or one of an earlier boot. A note that cannot be read is left out, and
// stays.
func (j *Journal) Owed() ([]*Record, error) {
	owed, stale, err := j.owing()
	for _, path := range stale {
		_ = os.Remove(path)
	}
	return owed, err
}

// Owing is Owed for whoever only looks.
func (j *Journal) Owing() ([]*Record, error) {
	owed, _, err := j.owing()
	return owed, err
}

func (j *Journal) owing() (owed []*Record, stale []string, err error) {
	entries, err := os.ReadDir(filepath.Join(j.dir, owedDir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("list what is owed to NICs: %w", err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), suffix) {
			continue // one that is being written
		}
		path := filepath.Join(j.dir, owedDir, e.Name())
		r, err := read(path)
		switch {
		case err == nil && j.Current(r):
			owed = append(owed, r)
		case trusted.Transient(err):
			return nil, stale, fmt.Errorf("read what is owed to a NIC: %w", err)
		case trusted.Unread(err):
			continue
		default:
			stale = append(stale, path)
		}
	}
	return owed, stale, nil
}

// Settle removes the note about a record's NIC.
func (j *Journal) Settle(r *Record) error { return removeFile(j.owed(r)) }

// stillOwed is the note about a record's NIC as it is now, nil if there is none
// any more. The caller holds the NIC's lock.
func (j *Journal) stillOwed(r *Record) (*Record, error) {
	now, err := read(j.owed(r))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return now, err
}

// owed is the file with the note about a NIC: one for each NIC, whoever had it.
// Two ports of one function share a lock, but have a note each.
func (j *Journal) owed(r *Record) string {
	id := r.NIC.Netdev
	name := id.Key()
	if id.Physical() {
		name += "-" + id.PermanentMAC
	}
	return filepath.Join(j.dir, owedDir, fileName(name)+suffix)
}
