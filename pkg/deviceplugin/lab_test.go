package deviceplugin

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// The tests in this file need the lab VM: 16 virtio NICs with a Soft-RoCE
// device each. They take turns and leave the NICs as they found them.

const labNICs = 16

func newLabNode(t *testing.T) *testNode {
	t.Helper()
	if os.Getenv("ROCE_LAB_MODE") == "" {
		t.Skip("needs the lab VM's RDMA devices: run it with `make test-lab`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	n := &testNode{&node.Node{T: t, Ctx: ctx, Logs: &node.Logs{}}}
	var err error
	n.Dir, err = os.MkdirTemp("", "dp")
	n.Must(err)
	t.Cleanup(func() { os.RemoveAll(n.Dir) })
	n.Journal, err = attachment.Open(n.State(), "/proc")
	n.Must(err)
	n.Write("config.json", `{"periodicUpdateInterval": 0, "configList": [
{"resourceName": "rail", "mode": "perDevice", "healthPolicy": "link", "selectors": {"ifNames": ["ens*np0"]}}]}`)
	return n
}

func (n *testNode) startInLab() (stop func()) {
	o := n.options()
	o.Proc, o.Rescue = "/proc", true
	return n.startWith(o)
}

func (n *testNode) command(line string) {
	n.Helper()
	words := strings.Fields(line)
	if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		n.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func TestInTheLabDevicesThatComeAndGoAreNoticedAtOnce(t *testing.T) {
	n := newLabNode(t)
	k := n.kubelet()
	n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
	n.command("rdma link delete rxe15")
	n.wait(k, "rdma/rail", labNICs-1)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != labNICs {
		t.Errorf("capacity %d", capacity)
	}
	n.command("rdma link add rxe15 type rxe netdev ens28np0")
	n.wait(k, "rdma/rail", labNICs)
}

func TestInTheLabALinkThatGoesDownAndUpIsNoticedAtOnce(t *testing.T) {
	n := newLabNode(t)
	k := n.kubelet()
	n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
	n.command("ip link set ens28np0 down")
	n.wait(k, "rdma/rail", labNICs-1)
	n.command("ip link set ens28np0 up")
	n.wait(k, "rdma/rail", labNICs)
}

func TestInTheLabAUnitGivesTheCharacterDevicesOfItsNIC(t *testing.T) {
	n := newLabNode(t)
	k := n.kubelet()
	n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
	devices, err := rdma.Host().Devices()
	n.Must(err)
	want := map[string]string{} // PCI address to uverbs
	for _, d := range devices {
		want[d.Address] = d.Uverbs()
	}
	for range labNICs {
		response, ids, err := k.Allocate("rdma/rail", 1)
		n.Must(err)
		node.CheckDevices(t, response, []string{"/dev/infiniband/rdma_cm", want[ids[0]]})
	}
}

func TestInTheLabNICsThatSomebodyMovedStayOffered(t *testing.T) {
	n := newLabNode(t)
	k := n.kubelet()
	stop := n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
	devices, err := rdma.Host().Devices()
	n.Must(err)
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	defer host.Close()
	n.command("ip netns add pod")
	pod, err := netdev.OpenNamespace("/run/netns/pod")
	n.Must(err)
	defer func() {
		for _, d := range devices {
			if os.Getenv("ROCE_LAB_MODE") == string(rdma.Exclusive) {
				n.Must(moveRDMA(d, pod, host))
			}
			n.command("ip -n pod link set " + d.Netdevs[0] + " netns 1")
			n.command("ip link set " + d.Netdevs[0] + " up mtu 9000")
		}
		pod.Close()
		n.command("ip netns delete pod")
	}()
	for _, d := range devices {
		n.command("ip link set " + d.Netdevs[0] + " netns pod")
		if os.Getenv("ROCE_LAB_MODE") == string(rdma.Exclusive) {
			n.command("rdma dev set " + d.Name + " netns pod")
		}
		n.command("ip -n pod link set " + d.Netdevs[0] + " up")
	}
	n.Until("all are seen in a pod", func() bool { return n.reported(len(devices), inventory.InPod) })
	n.wait(k, "rdma/rail", labNICs)
	stop()
	n.wait(k, "rdma/rail", 0)
	n.startInLab()
	n.wait(k, "rdma/rail", labNICs)
}

func moveRDMA(d rdma.Device, from, to *netdev.Namespace) error {
	source, err := rdma.Open(from.NS)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := rdma.Open(to.NS)
	if err != nil {
		return err
	}
	defer target.Close()
	link, ok, err := source.Find(d)
	if err != nil || !ok {
		return errors.Join(err, rdma.ErrNoDevice)
	}
	return source.Move(link, target)
}

func deviceOf(nic string) (rdma.Device, error) {
	own, err := rdma.Open(netns.None())
	if err != nil {
		return rdma.Device{}, err
	}
	defer own.Close()
	return own.DeviceOf(rdma.Host(), nic)
}

func TestInTheLabANICThatComesBackByItselfIsRescued(t *testing.T) {
	n := newLabNode(t)
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	defer host.Close()
	n.startInLab()
	const nic = "ens12np0"
	link, err := host.LinkNamed(nic)
	n.Must(err)
	before, err := host.State(t.Context(), link)
	n.Must(err)
	device, err := deviceOf(nic)
	n.Must(err)
	n.command("ip netns add pod")
	n.moveToPod(host, nic, "pod", "net1")
	n.command("ip netns delete pod") // and nobody calls DEL

	n.Until("the NIC is rescued", func() bool { return strings.Contains(n.Logs.String(), "rescued a NIC") })
	back, err := host.LinkNamed(nic)
	n.Must(err)
	if back == nil || back.Attrs().MTU != before.MTU || back.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("the netdev: %+v", back)
	}
	if d, err := deviceOf(nic); err != nil || d.Name != device.Name {
		t.Errorf("the RDMA device: %v %v", d, err)
	}
	record, _, _ := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: "net1"})
	if record == nil || record.Step != attachment.Returned {
		t.Errorf("the record: %+v", record)
	}
}
