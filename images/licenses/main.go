// Command licenses copies the licence texts and notices of everything that
// programs are linked from: the modules of their packages, Go's own library, and
// this project.
//
//	licenses FOLDER [BUILD FLAG...] PACKAGE...
//
// The environment (GOARCH, CGO_ENABLED) and the flags are those of the build, for
// they decide what is linked. A module without a licence text is an error.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: licenses FOLDER [BUILD FLAG...] PACKAGE...")
		os.Exit(2)
	}
	if err := collect(os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "licenses:", err)
		os.Exit(1)
	}
}

// A linked package, as `go list` describes it.
type linked struct {
	Dir    string
	Module *struct{ Path, Dir string } // nil for Go's own
}

// collect writes the texts of a module into the folder of its path.
func collect(to string, build []string) error {
	packages, err := list(build)
	if err != nil {
		return err
	}
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return fmt.Errorf("go env GOROOT: %w", err)
	}
	found := map[string]bool{} // modules, and whether each has a text
	for _, p := range packages {
		module, root := "std", strings.TrimSpace(string(goroot))
		if p.Module != nil {
			module, root = p.Module.Path, p.Module.Dir
		}
		copied, err := copyTexts(root, p.Dir, filepath.Join(to, filepath.FromSlash(module)))
		if err != nil {
			return fmt.Errorf("%s: %w", module, err)
		}
		found[module] = found[module] || copied
	}
	var errs []error
	for module, has := range found {
		if !has {
			errs = append(errs, fmt.Errorf("%s has no licence text", module))
		}
	}
	return errors.Join(errs...)
}

// list lists what the build of some packages links.
func list(build []string) ([]linked, error) {
	cmd := exec.Command("go", append([]string{"list", "-deps", "-json=Dir,Module"}, build...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", cmd, err)
	}
	var packages []linked
	for decoder := json.NewDecoder(bytes.NewReader(out)); ; {
		var p linked
		switch err := decoder.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, err
		}
		packages = append(packages, p)
	}
}

// copyTexts copies the texts in a package's folder and in all that it is in, up
// to its module's.
func copyTexts(root, folder, to string) (copied bool, err error) {
	text := regexp.MustCompile(`(?i)^(licen[cs]e|copying|notice|patents)([.-].*)?$`)
	for {
		entries, err := os.ReadDir(folder)
		if err != nil {
			return false, err
		}
		inside, err := filepath.Rel(root, folder)
		if err != nil || strings.HasPrefix(inside, "..") {
			return false, fmt.Errorf("%s is not in %s", folder, root)
		}
		for _, e := range entries {
			if !e.Type().IsRegular() || !text.MatchString(e.Name()) || strings.HasSuffix(e.Name(), ".go") {
				continue
			}
			if err := copyFile(filepath.Join(folder, e.Name()), filepath.Join(to, inside, e.Name())); err != nil {
				return false, err
			}
			copied = true
		}
		if inside == "." {
			return copied, nil
		}
		folder = filepath.Dir(folder)
	}
}

func copyFile(from, to string) error {
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, content, 0o644)
	}
	return err
}
