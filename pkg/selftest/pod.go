package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A pod is a network namespace that only this process holds, and what the plugin
// gives it.
type pod struct {
	ns         *netdev.Namespace
	attachment attachment
	nic        nic
	before     view // of the NIC, on the host
	config     config
	address    netip.Addr // of the NIC in the pod, if it gets one
}

// A config is a network's configuration.
type config struct {
	CNIVersion string          `json:"cniVersion"`
	Name       string          `json:"name"`
	Type       string          `json:"type"`
	Device     string          `json:"device"`
	RDMA       string          `json:"rdma,omitempty"`
	IPAM       *ipam           `json:"ipam,omitempty"`
	PrevResult json.RawMessage `json:"prevResult,omitempty"`
}

type ipam struct {
	Type      string    `json:"type"`
	Addresses []address `json:"addresses"`
}

type address struct {
	Address netip.Prefix `json:"address"`
}

// newPod makes a pod for a NIC, which is to have an address there if the prefix
// is valid.
func (t *test) newPod(ctx context.Context, n nic, prefix netip.Prefix) (*pod, error) {
	before, err := t.look(ctx, n)
	if err != nil {
		return nil, err
	}
	handle, err := newNamespace()
	if err != nil {
		return nil, fmt.Errorf("make a network namespace: %w", err)
	}
	defer handle.Close()
	ns, err := netdev.OpenNamespace(path(handle))
	if err != nil {
		return nil, err
	}
	id := fmt.Sprintf("%s-%d-%d", network, os.Getpid(), time.Now().UnixNano())
	p := &pod{
		ns: ns, nic: n, before: before, address: prefix.Addr(), attachment: attachment{id, ifName, path(ns.NS)},
		config: config{CNIVersion: "1.0.0", Name: network, Type: pluginName, Device: n.name},
	}
	if n.device == nil {
		p.config.RDMA = "none"
	}
	if prefix.IsValid() {
		p.config.IPAM = &ipam{"static", []address{{prefix}}}
	}
	return p, nil
}

// newNamespace makes it on a thread that leaves it again.
func newNamespace() (netns.NsHandle, error) {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return netns.None(), err
	}
	defer home.Close()
	handle, err := netns.New()
	if back := netns.Set(home); back != nil {
		return handle, errors.Join(err, back) // the thread stays locked, and ends with its goroutine
	}
	runtime.UnlockOSThread()
	return handle, err
}

// path is where another process finds a namespace that this one has open.
func path(ns netns.NsHandle) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), int(ns)) }

// end ends the namespace.
func (p *pod) end() { p.ns.Close() }

// run runs a program in the pod's namespace, with a sysfs of the namespace. It
// ends with ctx, and with this process.
func (p *pod) run(ctx context.Context, program string, args ...string) error {
	const inNewSysfs = `mount -t sysfs selftest /sys && exec "$0" "$@"`
	return p.ns.Do(func() error {
		cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", inNewSysfs, program}, args...)...)
		// Go makes the mounts of such a namespace private.
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s: %w: %s", program, strings.Join(args, " "), err, lastLine(string(out)))
		}
		return nil
	})
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}
