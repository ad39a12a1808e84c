package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// WriteFeatures writes what the node has for node-feature-discovery, which makes
// labels of the files in its folder features.d: a name and a value a line. It
// passes over files whose names begin with a dot, so that it never sees half of
// this one.
func (r *Report) WriteFeatures(path string) error {
	mode := r.Mode
	if mode == "" {
		mode = "none"
	}
	content := fmt.Sprintf("roce.nics=%d\nroce.mode=%s\nroce.rails-ok=%t\n", len(r.Rails), mode, r.Verdict != VerdictBroken)
	if err := replace(path, []byte(content)); err != nil {
		return fmt.Errorf("write the features of the node: %w", err)
	}
	return nil
}

// replace writes a file that appears whole or not at all. The name of the part is
// one that nobody can have made a link of before.
func replace(path string, content []byte) (err error) {
	part, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(part.Name())
		}
	}()
	_, err = part.Write(content)
	if err := errors.Join(err, part.Chmod(0o644), part.Close()); err != nil {
		return err
	}
	return os.Rename(part.Name(), path)
}
