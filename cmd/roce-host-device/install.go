package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/durable"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

const installUsage = "roce-host-device install [--to DIR] [--policy FILE [--policy-to DIR]]"

// install copies this program into a CNI plugin folder, and the
// administrator's policy to where the program looks for it: an init
// container's job, in an image that has no shell. Files appear whole or not at
// all, and a program that is running is replaced, not written to.
//
// The policy comes first: with a bad one nothing changes, and no program is
// newer than the policy that it has to obey.
func install(args []string) error {
	flags := flag.NewFlagSet("roce-host-device install", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	to := flags.String("to", "/opt/cni/bin", "the CNI plugin `folder`; empty: do not install the program")
	policyFile := flags.String("policy", "", "the policy `file`; if it does not exist, the node's policy stays as it is")
	policyTo := flags.String("policy-to", filepath.Dir(policy.File), "the policy's `folder`")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; usage: %s", err, installUsage)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q; usage: %s", flags.Arg(0), installUsage)
	}
	if *policyFile != "" {
		content, err := readPolicy(*policyFile)
		if err != nil {
			return err
		}
		if content != nil {
			if err := installPolicy(*policyTo, content); err != nil {
				return err
			}
		}
	}
	if *to == "" {
		return nil
	}
	return installProgram(*to)
}

func installProgram(dir string) error {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer self.Close()
	err = place(dir, "roce-host-device", 0o755, self)
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; %w", err, owner(dir))
	}
	return err
}

// owner explains why root without capabilities may not write to a folder.
func owner(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return err
	}
	return fmt.Errorf("the folder belongs to user %d; run as that user (runAsUser of the init container)", st.Uid)
}

// place puts a file into a folder, in one step.
func place(dir, name string, mode fs.FileMode, content io.Reader) error {
	// Runtimes list the folder, and do not see what begins with a dot.
	pattern := "." + name + "-*"
	// What earlier installs left that were killed half-way.
	stale, _ := filepath.Glob(filepath.Join(dir, pattern))
	for _, path := range stale {
		_ = os.Remove(path)
	}
	temp, err := os.CreateTemp(dir, pattern)
	if err != nil {
		return err
	}
	err = fill(temp, mode, content)
	if err = errors.Join(err, temp.Close()); err == nil {
		err = os.Rename(temp.Name(), filepath.Join(dir, name))
	}
	if err != nil {
		return errors.Join(err, os.Remove(temp.Name()))
	}
	return durable.SyncFolder(dir)
}

func fill(f *os.File, mode fs.FileMode, content io.Reader) error {
	if _, err := io.Copy(f, content); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}
