package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// readPolicy reads and checks a policy that is to be installed. nil means that
// there is none: an optional ConfigMap that does not exist leaves an empty
// folder.
func readPolicy(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	_, err = policy.Parse(path, b)
	return b, policy.Each(err)
}

// installPolicy puts a policy where the plugin looks for it: root's, readable
// for all. The folder need not exist.
func installPolicy(dir string, content []byte) error {
	if os.Geteuid() != 0 {
		return errors.New("the policy must belong to root; run as root")
	}
	err := os.MkdirAll(dir, 0o755)
	if err == nil {
		err = place(dir, filepath.Base(policy.File), 0o644, bytes.NewReader(content))
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; the folder must belong to root: chown root %s on the node", err, dir)
	}
	return err
}

// validate checks a policy file: one that is to be installed, or, without a
// name, the node's, with all that the plugin asks of it.
func validate(args []string, stdout io.Writer) error {
	switch len(args) {
	case 0:
		return validateNode(policy.File, stdout)
	case 1:
		if err := policy.Validate(args[0]); err != nil {
			return err
		}
		return say(stdout, args[0]+" is valid")
	}
	return errors.New("usage: roce-host-device validate [FILE]")
}

func validateNode(file string, stdout io.Writer) error {
	p, err := policy.Load(file)
	if err != nil {
		return policy.Each(err)
	}
	if err := trusted.CheckDir(p.StateDir); err != nil {
		return fmt.Errorf("state folder: %w", err)
	}
	if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) {
		return say(stdout, "there is no "+file+": the defaults apply")
	}
	return say(stdout, file+" is valid")
}

func say(w io.Writer, text string) error {
	_, err := fmt.Fprintln(w, text)
	return err
}
