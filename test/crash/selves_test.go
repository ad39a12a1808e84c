package crash_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// slowIPAM is host-local, slow in the run that is to be killed: there it
// outlives the plugin that it works for. It is this program under another name.
const slowIPAM = "slow-ipam"

// thinkingTime is how long it does nothing, before and after.
const thinkingTime = 60 * time.Millisecond

// selves is the folder with this program's other names.
var selves string

func TestMain(m *testing.M) {
	switch filepath.Base(os.Args[0]) {
	case slowIPAM:
		os.Exit(think())
	case tracedName:
		fmt.Fprintln(os.Stderr, becomeTraced(os.Args[1]))
		os.Exit(1)
	}
	os.Exit(mounts.Run(func() int { return withSelves(m.Run) }))
}

func withSelves(run func() int) int {
	// What a killed plugin leaves running becomes our child, to be waited for.
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		panic(err)
	}
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	if selves, err = os.MkdirTemp("", "roce-crash-"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(selves)
	for _, name := range []string{slowIPAM, tracedName} {
		if err := os.Symlink(self, filepath.Join(selves, name)); err != nil {
			panic(err)
		}
	}
	return run()
}

// think is the slow plugin. Between its two pauses the address is taken, but
// nobody knows yet.
func think() int {
	pause, _ := time.ParseDuration(os.Getenv("ROCE_CRASH_THINK"))
	time.Sleep(pause)
	cmd := exec.Command(os.Getenv("ROCE_CRASH_IPAM"))
	var out bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, &out, os.Stderr
	err := cmd.Run()
	time.Sleep(pause)
	os.Stdout.Write(out.Bytes())
	if err != nil {
		return 1
	}
	return 0
}
