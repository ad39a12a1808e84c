package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// install copies this program into a CNI plugin folder: an init container's
// job, in an image that has no shell. The copy appears whole or not at all, and
// a program that is running is replaced, not written to.
func install(args []string) (err error) {
	flags := flag.NewFlagSet("roce-host-device install", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	to := flags.String("to", "/opt/cni/bin", "the CNI plugin `folder`")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("%w; use: roce-host-device install [--to DIR]", err)
	}
	from, err := os.Open("/proc/self/exe")
	if err != nil {
		return err
	}
	defer from.Close()
	temp, err := os.CreateTemp(*to, ".roce-host-device-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(temp.Name()))
		}
	}()
	if _, err = io.Copy(temp, from); err == nil {
		err = temp.Chmod(0o755)
	}
	if err == nil {
		err = temp.Sync()
	}
	if err = errors.Join(err, temp.Close()); err != nil {
		return err
	}
	return os.Rename(temp.Name(), filepath.Join(*to, "roce-host-device"))
}
