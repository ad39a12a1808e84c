package cluster

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/node"
	"github.com/roce-k8s/roce-k8s/test/e2e/process"
)

// A Lab says what virtual machine a node is.
type Lab struct {
	Run  string // the command test/lab/run
	Mode string // RDMA namespace mode: exclusive or shared
	NICs int
	// Wire is DIR:a or DIR:b, as test/lab/run has it.
	Wire string
	// Life bounds the machine's.
	Life time.Duration
}

// BootLab starts a node as a virtual machine, plugged into the management bridge.
func (n *Node) BootLab(lab Lab) error {
	n.Emulated = true
	if err := n.Write(n.Folder); err != nil {
		return err
	}
	if err := command("ip tuntap add "+n.uplink()+" mode tap", "ip link set "+n.uplink()+" master "+bridge+" up"); err != nil {
		return err
	}
	var err error
	n.machine, err = process.Start(n.path(node.LogsFolder, "node"), lab.Run, "--mode", lab.Mode, "--nics", strconv.Itoa(lab.NICs), "--mem", "4096",
		"--timeout", strconv.Itoa(int(lab.Life.Seconds())), "--wire", lab.Wire, "--tap", n.uplink(), "--share", n.Folder, "--qmp", n.monitor(), "--qemu", "-smp", "--qemu", "1",
		"--", n.path(node.ProgramsFolder, "node"), "/host")
	return err
}

func (n *Node) monitor() string { return n.path("monitor") }

// SetCable pulls or plugs the cable of one of the machine's NICs.
func (n *Node) SetCable(ctx context.Context, nic int, plugged bool) error {
	type command struct {
		Execute   string         `json:"execute"`
		Arguments map[string]any `json:"arguments,omitempty"`
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", n.monitor())
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	in := json.NewDecoder(bufio.NewReader(conn))
	for _, c := range []command{
		{Execute: "qmp_capabilities"},
		{"set_link", map[string]any{"name": fmt.Sprintf("nic%d", nic), "up": plugged}},
	} {
		if err := json.NewEncoder(conn).Encode(c); err != nil {
			return err
		}
		// The greeting and events come in between.
		for {
			var answer struct{ Return, Error json.RawMessage }
			if err := in.Decode(&answer); err != nil {
				return err
			}
			if answer.Error != nil {
				return errors.New("QEMU: " + string(answer.Error))
			}
			if answer.Return != nil {
				break
			}
		}
	}
	return nil
}
