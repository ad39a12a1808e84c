package attachment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// Owe notes that a record's NIC is on the host and not yet all that it was: it
// is under another name than its own, which somebody else has, or the host's
// network manager is to configure it. The attachment can end all the same.
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

// Owed lists the records of NICs to which something is owed.
func (j *Journal) Owed() ([]*Record, error) {
	entries, err := os.ReadDir(filepath.Join(j.dir, owedDir))
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil
		}
		return nil, fmt.Errorf("list what is owed to NICs: %w", err)
	}
	var owed []*Record
	for _, e := range entries {
		r, err := read(filepath.Join(j.dir, owedDir, e.Name()))
		if err == nil && j.Current(r) {
			owed = append(owed, r)
			continue
		}
		if trusted.Transient(err) {
			return nil, fmt.Errorf("read a name that is owed: %w", err)
		}
		// Of an earlier boot, half written, or no note.
		_ = os.Remove(filepath.Join(j.dir, owedDir, e.Name()))
	}
	return owed, nil
}

// Settle removes the note about a record's NIC.
func (j *Journal) Settle(r *Record) error { return removeFile(j.owed(r)) }

// owed is the note about a NIC: one for each, whoever had it.
func (j *Journal) owed(r *Record) string {
	return filepath.Join(j.dir, owedDir, fileName(r.NIC.Netdev.Key())+suffix)
}
