// Command cni measures roce-host-device against host-device, and writes what
// came out into docs/benchmarks.md.
//
// It runs the programs as a runtime does, one process for each command, in
// turns, between network namespaces of its own; a process's time is that from
// before its creation until it has been waited for. The floor is what no CNI
// plugin can do without: one RTM_NEWLINK that moves the NIC, one message that
// moves its RDMA device in exclusive mode, and the start and end of one process.
//
// In a virtual machine of the lab (-lab) it measures exclusive mode, on real
// RDMA devices, against host-device with rdma-cni chained behind it.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

func main() {
	o := options{}
	flag.StringVar(&o.Programs, "programs", "", "`folder` with the plugins and the program that does nothing")
	flag.IntVar(&o.Rounds, "rounds", 50, "how often to do each")
	docs := flag.String("docs", "docs", "`folder` with benchmarks.md; empty to write nothing")
	vm := flag.String("vm", "", "`file` with what the virtual machine measured")
	lab := flag.Bool("lab", false, "measure on the lab's RDMA devices, and print JSON")
	inside := flag.Bool("in-namespaces", false, "")
	flag.Parse()
	if name := filepath.Base(os.Args[0]); name == slowIPAM {
		if err := answerSlowly(os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	var err error
	switch {
	case *lab:
		err = measureLab(o, os.Stdout)
	case *inside:
		err = measureVirtual(o, os.Stdout)
	default:
		err = run(o, *vm, *docs)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// options are what to measure.
type options struct {
	Programs string
	Rounds   int
}

// run measures in a process with namespaces of its own, adds what the virtual
// machine measured, and writes it down.
func run(o options, vm, docs string) error {
	machine, err := report.ThisMachine()
	if err != nil {
		return err
	}
	undo, err := mounts.Points()
	if err != nil {
		return err
	}
	defer undo()
	cmd := exec.Command("/proc/self/exe", "-in-namespaces", "-programs="+o.Programs, "-rounds="+strconv.Itoa(o.Rounds)) //nolint:gosec // ourselves
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   unix.CLONE_NEWNET,
		Unshareflags: unix.CLONE_NEWNS, // and Go makes its mounts private
		Pdeathsig:    syscall.SIGKILL,
	}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("measuring in namespaces: %w", err)
	}
	var r results
	if err := json.Unmarshal(out, &r); err != nil {
		return fmt.Errorf("measuring in namespaces: %w", err)
	}
	if vm != "" {
		b, err := os.ReadFile(vm)
		if err != nil {
			return err
		}
		r.Exclusive = new(pair)
		if err := json.Unmarshal(b, r.Exclusive); err != nil {
			return fmt.Errorf("%s: %w", vm, err)
		}
	}
	fmt.Print(r.table())
	if docs == "" {
		return nil
	}
	ran, err := machine.Ran()
	if err != nil {
		return err
	}
	return r.section(ran).Write(docs)
}
