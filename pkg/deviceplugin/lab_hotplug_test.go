package deviceplugin

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// A machineMonitor is QEMU's monitor, which the lab gives to the guest on a
// serial port: what a technician does to a machine, a test does through it.
type machineMonitor struct {
	*testNode
	port    *os.File
	answers *json.Decoder
}

func (n *testNode) machineMonitor() machineMonitor {
	n.Helper()
	ports, err := filepath.Glob("/sys/class/virtio-ports/*/name")
	n.Must(err)
	for _, name := range ports {
		b, err := os.ReadFile(name)
		n.Must(err)
		if strings.TrimSpace(string(b)) != "monitor" {
			continue
		}
		port, err := os.OpenFile(filepath.Join("/dev", filepath.Base(filepath.Dir(name))), os.O_RDWR, 0)
		n.Must(err)
		n.Cleanup(func() { port.Close() })
		m := machineMonitor{n, port, json.NewDecoder(port)}
		m.execute(negotiation, nil)
		return m
	}
	n.Fatal("this lab has no monitor: test/lab-tests gives it one")
	return machineMonitor{}
}

// negotiation begins a session of QMP, which outlives the test: another one's has
// begun already.
const negotiation = "qmp_capabilities"

// execute runs one command of QEMU's machine protocol (QMP).
func (m machineMonitor) execute(command string, arguments map[string]any) {
	m.Helper()
	request := map[string]any{"execute": command}
	if arguments != nil {
		request["arguments"] = arguments
	}
	m.Must(json.NewEncoder(m.port).Encode(request))
	for {
		var answer map[string]any
		m.Must(m.answers.Decode(&answer))
		if failed, ok := answer["error"].(map[string]any); ok {
			if command == negotiation && failed["class"] == "CommandNotFound" {
				return
			}
			m.Fatalf("%s %v: %v", command, arguments, failed)
		}
		if _, ok := answer["return"]; ok {
			return // what else comes is the greeting and events
		}
	}
}

// The last of the lab's NICs, as the guest and as QEMU call it.
const (
	lastNIC  = "ens28np0"
	lastRDMA = "rxe15"
	lastMAC  = "52:54:00:0c:e0:0f"
)

func TestInTheLabAPulledCableAndAPulledNICAreNoticedAndSoIsTheirReturn(t *testing.T) {
	n := newLabNode(t)
	k := n.kubelet()
	n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
	m := n.machineMonitor()

	m.execute("set_link", map[string]any{"name": "nic15", "up": false})
	n.wait(k, "rdma/rail", labNICs-1)
	m.execute("set_link", map[string]any{"name": "nic15", "up": true})
	n.wait(k, "rdma/rail", labNICs)

	m.execute("device_del", map[string]any{"id": "nic15"})
	n.wait(k, "rdma/rail", labNICs-1)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != labNICs {
		t.Errorf("a NIC that was pulled is forgotten at once: capacity %d", capacity)
	}
	n.Until("the slot is empty", func() bool { return netdevWith(lastMAC) == "" })

	m.execute("device_add", map[string]any{"driver": "virtio-net-pci", "id": "nic15", "bus": "port15", "netdev": "net15",
		"mac": lastMAC, "host_mtu": 9000, "romfile": ""})
	n.Until("the NIC is back", func() bool { return netdevWith(lastMAC) != "" })
	n.command("ip link set " + netdevWith(lastMAC) + " name " + lastNIC + " mtu 9000 up")
	n.command("rdma link add " + lastRDMA + " type rxe netdev " + lastNIC)
	n.wait(k, "rdma/rail", labNICs)
}

// netdevWith is the netdev with a MAC address, "" without one.
func netdevWith(mac string) string {
	files, _ := filepath.Glob("/sys/class/net/*/address")
	for _, file := range files {
		if b, err := os.ReadFile(file); err == nil && strings.TrimSpace(string(b)) == mac {
			return filepath.Base(filepath.Dir(file))
		}
	}
	return ""
}
