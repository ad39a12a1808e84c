// Command timed stands in a CNI plugin's place, runs it, and writes down when it
// began and ended. What it is called by is the plugin's name; the plugin itself is
// in another folder.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Where the program that measures puts and looks for things.
const (
	realPlugins = "/opt/cni/timed"
	log         = "/run/timed"
)

func main() {
	name := filepath.Base(os.Args[0])
	cmd := exec.Command(filepath.Join(realPlugins, name))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	begin := now()
	err := cmd.Run()
	end := now()
	if f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600); err == nil {
		fmt.Fprintln(f, name, os.Getenv("CNI_COMMAND"), os.Getenv("CNI_IFNAME"), begin, end)
	}
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		os.Exit(exit.ExitCode())
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// now is the same clock for all processes, in nanoseconds.
func now() int64 {
	var t unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return t.Nano()
}
