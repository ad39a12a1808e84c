package deviceplugin

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// moveToPod does what the CNI plugin does with a NIC of the lab, for a namespace
// that is there. The record comes last: one of a NIC that is on the host would
// be rescued at once.
func (n *testNode) moveToPod(host *netdev.Namespace, nic, namespace, ifName string) {
	n.Helper()
	link, err := host.LinkNamed(nic)
	n.Must(err)
	before, err := host.State(n.Ctx, link)
	n.Must(err)
	device, err := deviceOf(nic)
	n.Must(err)
	pod, err := netdev.OpenNamespace("/run/netns/" + namespace)
	n.Must(err)
	defer pod.Close()
	record := &attachment.Record{
		Step: attachment.Attached, ContainerID: "pod1", IfName: ifName, Pod: attachment.Pod{Namespace: "default", Name: namespace},
		Netns: attachment.Namespace{Path: "/run/netns/" + namespace, ID: pod.ID},
		NIC: attachment.NIC{
			Netdev: netdev.IdentityOf(link), Bus: device.Bus, Address: device.Address, RDMA: &device,
			RDMAMoved: os.Getenv("ROCE_LAB_MODE") == string(rdma.Exclusive),
		},
		Host: before,
	}
	n.command(fmt.Sprintf("ip link set %s netns %s name %s mtu 1500", nic, namespace, ifName))
	if record.NIC.RDMAMoved {
		n.command("rdma dev set " + device.Name + " netns " + namespace)
	}
	n.command(fmt.Sprintf("ip -n %s link set %s up", namespace, ifName))
	n.Must(n.Journal.Write(record))
}

// `openibd restart`, and the pods that bring a driver, unload the modules and
// load them again. /dev/infiniband goes with them, and comes back as another
// folder, with other numbers in it.
func TestInTheLabADriverMayBeLoadedAgainUnderThePlugin(t *testing.T) {
	n := newLabNode(t)
	n.Write("volumes/config/config.json", perDevice)
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	defer host.Close()
	k := n.kubelet()
	n.startInContainer()
	n.wait(k, "rdma/rail", labNICs)
	devices, err := rdma.Host().Devices()
	n.Must(err)

	n.command("ip netns add pod")
	inPod := map[string]string{} // by the NIC's name on the host, that in the pod
	for i, d := range devices[:2] {
		inPod[d.Netdevs[0]] = fmt.Sprintf("net%d", i+1)
		n.moveToPod(host, d.Netdevs[0], "pod", inPod[d.Netdevs[0]])
	}
	n.Until("two are seen in a pod", func() bool { return strings.Count(n.Logs.String(), " place=pod ") >= len(inPod) })

	n.command("rmmod rdma_rxe rdma_ucm ib_umad ib_uverbs")
	if _, err := os.Stat("/dev/infiniband"); !os.IsNotExist(err) {
		t.Fatalf("the kernel keeps the folder: %v", err)
	}
	n.wait(k, "rdma/rail", 0)
	if capacity, _ := k.Allocatable("rdma/rail"); capacity != labNICs {
		t.Errorf("a driver that is away is not a NIC that is: capacity %d", capacity)
	}

	n.command("modprobe -a ib_uverbs ib_umad rdma_ucm")
	n.command("insmod /lab/rdma_rxe.ko")
	for i := range devices { // backwards: each has another uverbs than before
		d := devices[len(devices)-1-i]
		add := fmt.Sprintf("rdma link add %s type rxe netdev ", d.Name)
		if ifName, ok := inPod[d.Netdevs[0]]; ok {
			n.command("nsenter --net=/run/netns/pod " + add + ifName)
		} else {
			n.command(add + d.Netdevs[0])
		}
	}
	n.wait(k, "rdma/rail", labNICs)
	response, _, err := k.Allocate("rdma/rail", labNICs)
	n.Must(err)
	given := map[string]bool{}
	for _, d := range response.Devices {
		given[filepath.Base(d.HostPath)] = true
		if _, err := os.Stat(d.HostPath); err != nil {
			t.Errorf("a container would not start: %v", err)
		}
	}
	if len(given) != labNICs+1 || !given["rdma_cm"] {
		t.Errorf("given: %v", given)
	}

	n.command("ip netns delete pod") // and nobody calls DEL
	n.Until("both NICs are rescued", func() bool { return strings.Count(n.Logs.String(), "rescued a NIC") == len(inPod) })
	for nic := range inPod {
		if _, err := netlink.LinkByName(nic); err != nil {
			t.Errorf("%s: %v", nic, err)
		}
		if _, err := deviceOf(nic); err != nil {
			t.Errorf("%s: %v", nic, err)
		}
	}
}
