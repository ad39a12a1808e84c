// Command deviceplugin measures rdma-device-plugin against
// k8s-rdma-shared-dev-plugin, which it wants to replace, and writes what came
// out into docs/benchmarks.md.
//
// Both see the same simulated node in private namespaces: trees with 8, 64 and
// 512 HCAs for /sys and /dev/infiniband, a veth for each netdev, and a stand-in
// kubelet. The kernel says that it has no netlink for RDMA at all, with the
// error that k8s-rdma-shared-dev-plugin takes for an old kernel and goes on.
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

	"github.com/roce-k8s/roce-k8s/test/bench/report"
)

// sizes are the numbers of HCAs.
var sizes = []int{8, 64, 512}

// usualSize and busySize are those for what is measured with one number of
// HCAs only: a GPU server's, and a busy node's with SR-IOV.
const (
	usualSize = 8
	busySize  = 64
)

func main() {
	o := options{}
	flag.StringVar(&o.Ours, "ours", "bin/rdma-device-plugin", "our `program`")
	flag.StringVar(&o.Theirs, "theirs", "", "their `program`, k8s-rdma-shared-dp")
	flag.IntVar(&o.Rounds, "rounds", 20, "how often to start each of them")
	flag.StringVar(&o.PCIIDs, "pci-ids", "/usr/share/misc/pci.ids", "the PCI ID `database`, which their image has")
	docs := flag.String("docs", "docs", "the `folder` with benchmarks.md; empty to write nothing")
	size := flag.Int("in-namespaces", 0, "")
	flag.Parse()
	var err error
	if *size > 0 {
		err = measure(o, *size, os.Stdout)
	} else {
		err = run(o, *docs)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// options are what to measure.
type options struct {
	Ours, Theirs string
	PCIIDs       string
	Rounds       int
}

// run measures each size in a process with namespaces of its own.
func run(o options, docs string) error {
	for _, program := range []*string{&o.Ours, &o.Theirs} {
		path, err := filepath.Abs(*program)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil || *program == "" {
			return fmt.Errorf("program %q: %w", *program, err)
		}
		*program = path
	}
	machine, err := report.ThisMachine()
	if err != nil {
		return err
	}
	all := results{}
	for _, size := range sizes {
		fmt.Fprintf(os.Stderr, "measuring with %d HCAs\n", size)
		cmd := exec.Command(os.Args[0], "-ours="+o.Ours, "-theirs="+o.Theirs, "-pci-ids="+o.PCIIDs,
			"-rounds="+strconv.Itoa(o.Rounds), "-in-namespaces="+strconv.Itoa(size)) //nolint:gosec // ourselves
		cmd.Stderr = os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("%d HCAs: %w", size, err)
		}
		var r result
		if err := json.Unmarshal(out, &r); err != nil {
			return fmt.Errorf("%d HCAs: %w", size, err)
		}
		all[size] = r
	}
	for i, path := range []string{o.Ours, o.Theirs} {
		info, err := os.Stat(path)
		if err != nil {
			return err
		}
		r := all[usualSize]
		[]*figures{&r.Ours, &r.Theirs}[i].Binary = float64(info.Size()) / 1e6
		all[usualSize] = r
	}
	fmt.Print(all.table())
	if docs == "" {
		return nil
	}
	ran, err := machine.Ran()
	if err != nil {
		return err
	}
	return all.section(ran).Write(docs)
}
