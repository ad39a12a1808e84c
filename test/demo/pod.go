package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/netip"
	"os/exec"
	"time"
)

// A pod is what a container runtime makes of one: a sandbox, which is a
// network namespace, and a process in it with a mount namespace of its own.
type pod struct {
	place
	number   int
	name     string
	id       string // of its sandbox container
	netns    string
	networks []network // one for each rail
	devices  []string  // the device files that the kubelet was given for it
	units    []string

	sandbox   bool            // there is a namespace
	addresses []netip.Prefix  // what CNI gave it, for each rail; the zero value for none
	tried     map[string]bool // the networks that were added, successfully or not
	keeper    *exec.Cmd       // keeps the mount namespace
	keeperIn  io.Closer
}

func newPod(n *node) *pod {
	name := fmt.Sprintf("gpu-rdma-pod-%d", n.number)
	id := sha256.Sum256([]byte(name))
	return &pod{
		number: n.number, name: name, id: fmt.Sprintf("%x", id[:6]), netns: "/run/netns/" + name,
		addresses: make([]netip.Prefix, len(n.nics)), tried: map[string]bool{},
	}
}

// makeSandbox is what the runtime does before it calls CNI.
func (p *pod) makeSandbox(ctx context.Context, machine place) error {
	if _, err := machine.run(ctx, fmt.Sprintf("ip netns add %[1]s && ip -n %[1]s link set lo up", p.name)); err != nil {
		return err
	}
	p.sandbox = true
	return nil
}

// start is what the runtime does after CNI: it starts a container, with the
// pod's name as the host name and the devices that the kubelet has for it. It
// lives until its standard input ends.
func (p *pod) start(ctx context.Context) error {
	p.keeper = exec.Command("nsenter", "--net="+p.netns, "unshare", "--mount", "--uts", "bash", "-ec", `
		echo "$1" >/proc/sys/kernel/hostname
		mount -t sysfs sysfs /sys
		mkdir -p "/run/$1"
		(($# == 1)) || cp -a "${@:2}" "/run/$1"
		mount --bind "/run/$1" /dev/infiniband
		echo ready
		read -r`, "-", p.name)
	p.keeper.Args = append(p.keeper.Args, p.devices...)
	in, err := p.keeper.StdinPipe()
	if err != nil {
		return err
	}
	out, err := p.keeper.StdoutPipe()
	if err != nil {
		return err
	}
	complaints := &lines{}
	p.keeper.Stderr = complaints
	if err := p.keeper.Start(); err != nil {
		return err
	}
	p.keeperIn = in
	// A pod that cannot start closes its output.
	if answer, err := io.ReadAll(io.LimitReader(out, int64(len("ready")))); err != nil || string(answer) != "ready" {
		p.stop()
		return fmt.Errorf("start pod %s: %s", p.name, complaints.take())
	}
	p.place = place{
		prompt: "root@" + p.name + ":/# ",
		enter:  []string{"nsenter", "--net", "--mount", "--uts", fmt.Sprintf("--target=%d", p.keeper.Process.Pid), "--"},
	}
	return ctx.Err()
}

// stop ends the container. The sandbox stays.
func (p *pod) stop() {
	if p.keeperIn == nil {
		return
	}
	p.keeperIn.Close()
	p.keeperIn = nil
	ended := time.AfterFunc(patience, func() { _ = p.keeper.Process.Kill() })
	_ = p.keeper.Wait() // `read` ends with the input, and with 1
	ended.Stop()
	p.place = place{}
}

func (p *pod) running() bool { return p.keeperIn != nil }
