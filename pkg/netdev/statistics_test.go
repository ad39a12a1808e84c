package netdev_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// newPod makes a namespace, and leaves the thread where it is.
func newPod(t *testing.T, host *netdev.Namespace) netns.NsHandle {
	t.Helper()
	pod, err := netns.New()
	must(t, err, netns.Set(host.NS))
	t.Cleanup(func() { pod.Close() })
	return pod
}

// send sends frames out of a link.
func send(t *testing.T, link netlink.Link, frames int) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xb5 // for experiments (IEEE 802)
	for range frames {
		must(t, unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: link.Attrs().Index, Halen: 6}))
	}
}

// receives sends three frames at a time out of a link until the other end has
// received: the kernel passes them on in its own time, and first it brings up the
// link.
func receives(t *testing.T, link netlink.Link, done func() bool) bool {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		send(t, link, 3)
		if done() {
			return true
		}
	}
	return false
}

func value(counters []netdev.Counter, name string) uint64 {
	for _, c := range counters {
		if c.Name == name {
			return c.Value
		}
	}
	return 0
}

func TestTheStatisticsOfANetdevAreFoundWhereverItIs(t *testing.T) {
	host := node.NewHost(t)
	nic := node.AddNIC(t, host, "nic0")
	peer, err := netlink.LinkByName("nic0w")
	must(t, err, netlink.LinkSetUp(nic), netlink.LinkSetUp(peer))
	reader := host.StatisticsReader()
	before, err := reader.Here("nic0")
	must(t, err)
	var packets, bytes uint64
	if !receives(t, peer, func() bool {
		after, err := reader.Here("nic0")
		must(t, err)
		packets, bytes = value(after, "rx_packets")-value(before, "rx_packets"), value(after, "rx_bytes")-value(before, "rx_bytes")
		return packets >= 3 && bytes >= 3*60
	}) {
		t.Errorf("%d packets, %d bytes", packets, bytes)
	}
	if _, err := reader.Here("nic1"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("a netdev that is not there: %v", err)
	}

	its := nic.Attrs().HardwareAddr.String()
	wanted := map[string]func(*netlink.LinkAttrs) bool{
		"nic0": func(a *netlink.LinkAttrs) bool { return a.HardwareAddr.String() == its },
		"none": func(*netlink.LinkAttrs) bool { return false },
	}
	expect := func(where string) {
		t.Helper()
		before, err := reader.Elsewhere(t.Context(), wanted)
		must(t, err)
		var packets uint64
		if !receives(t, peer, func() bool {
			after, err := reader.Elsewhere(t.Context(), wanted)
			must(t, err)
			packets = value(after["nic0"], "rx_packets") - value(before["nic0"], "rx_packets")
			return packets >= 3 && len(after) == 1
		}) {
			t.Errorf("%s: %d packets", where, packets)
		}
	}
	one, two := newPod(t, host), newPod(t, host)
	move := func(from, to netns.NsHandle, name string) {
		t.Helper()
		must(t, netns.Set(from))
		link, err := netlink.LinkByName(name)
		must(t, err, netlink.LinkSetNsFd(link, int(to)), netns.Set(to), netlink.LinkSetName(link, "net1"), netlink.LinkSetUp(link), netns.Set(host.NS))
	}
	move(host.NS, one, "nic0")
	expect("in a pod")
	must(t, netns.Set(one))
	net1, err := netlink.LinkByName("net1")
	must(t, err, netns.Set(host.NS))
	move(one, two, "net1")
	// Another has its ifindex there by now.
	must(t, netns.Set(one), netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "net1", Index: net1.Attrs().Index}, PeerName: "w"}), netns.Set(host.NS))
	expect("in another pod")
	move(two, host.NS, "net1")
	if back, err := reader.Here("net1"); err != nil || value(back, "rx_packets") < 9 {
		t.Errorf("back on the host: %v, %v", back, err)
	}
}

func TestTheMemoryOfStatisticsThatWereReadIsGivenBack(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	mappings := func() int {
		b, err := os.ReadFile("/proc/self/maps")
		must(t, err)
		return strings.Count(string(b), "\n")
	}
	const often = 200
	before := mappings()
	for range often {
		_, err := host.HardwareStatistics("nic0")
		must(t, err)
	}
	if more := mappings() - before; more >= often {
		t.Errorf("%d more pieces of memory", more)
	}
}

func TestADriverTellsItsOwnStatistics(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	peer, err := netlink.LinkByName("nic0w")
	must(t, err)
	counters, err := host.HardwareStatistics("nic0")
	must(t, err)
	if got := value(counters, "peer_ifindex"); got != uint64(peer.Attrs().Index) {
		t.Errorf("peer_ifindex %d, want %d; of %v", got, peer.Attrs().Index, counters)
	}
	if counters, err := host.HardwareStatistics("lo"); err != nil || len(counters) != 0 {
		t.Errorf("of a driver that has none: %v, %v", counters, err)
	}
	if _, err := host.HardwareStatistics("none0"); !errors.Is(err, unix.ENODEV) {
		t.Errorf("of no netdev: %v", err)
	}
}
