package deviceplugin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// newNamespace makes a network namespace for a test that stands for the host's.
func newNamespace(t *testing.T) *netdev.Namespace {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends with the test
	before, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	if _, err := netns.New(); errors.Is(err, os.ErrPermission) {
		t.Skip("needs root for network namespaces")
	} else if err != nil {
		t.Fatal(err)
	}
	host, err := netdev.OpenNamespace("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(host.Close)
	return host
}

// addNIC makes a link that stands for a NIC: of those that a machine has
// without hardware, none returns to the host by itself, so it is put there as
// the kernel leaves a real one.
func addNIC(t *testing.T, host *netdev.Namespace, name string) netlink.Link {
	t.Helper()
	err := host.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name, MTU: 1500}, PeerName: name + "w"})
	if err != nil {
		t.Fatal(err)
	}
	link, err := host.LinkNamed(name)
	if err != nil || link == nil {
		t.Fatal(link, err)
	}
	return link
}

func strandedRecord(link netlink.Link, step attachment.Step) *attachment.Record {
	return &attachment.Record{
		Step: step, ContainerID: "pod1", IfName: "net1",
		Pod:   attachment.Pod{Namespace: "default", Name: "gpu-rdma-pod-1"},
		Netns: attachment.Namespace{Path: "/run/netns/gone", ID: 1},
		NIC:   attachment.NIC{Netdev: netdev.IdentityOf(link)},
		Host:  netdev.State{Name: "ens12np0", MTU: 9000, MAC: link.Attrs().HardwareAddr.String(), Up: true},
	}
}

func TestANICThatCameBackWithoutADelIsRestored(t *testing.T) {
	n := newTestNode(t)
	host := newNamespace(t)
	link := addNIC(t, host, "net1")
	n.must(n.journal.Write(strandedRecord(link, attachment.Attached)))

	var results []error
	r := &rescuer{host: host, journal: n.journal, log: slog.New(slog.NewTextHandler(n.logs, nil)), done: func(err error) { results = append(results, err) }}
	i := n.inventory()
	i.links = host.Links
	_, err := i.read()
	n.must(err)
	r.rescue(n.ctx, stranded(i.held, i.hostLinks))

	back, err := host.LinkNamed("ens12np0")
	n.must(err)
	if back == nil || back.Attrs().MTU != 9000 || back.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("got %+v", back)
	}
	if len(results) != 1 || results[0] != nil || !strings.Contains(n.logs.String(), `rescued a NIC whose namespace ended without a DEL" nic=ens12np0 was="pod default/gpu-rdma-pod-1`) {
		t.Errorf("results %v, logged:\n%s", results, n.logs)
	}
	record, err := n.journal.Read("pod1", "net1")
	n.must(err)
	if record == nil || record.Step != attachment.Returned {
		t.Errorf("the record for the CNI plugin, which has an address to free: %+v", record)
	}
	// Once is enough.
	_, err = i.read()
	n.must(err)
	if again := stranded(i.held, i.hostLinks); len(again) != 0 {
		t.Errorf("again: %v", again)
	}
}

func TestARescueCanBeTurnedOff(t *testing.T) {
	for rescue, want := range map[bool]string{true: "ens12np0", false: "net1"} {
		t.Run(want, func(t *testing.T) {
			n := newTestNode(t)
			n.write("config.json", guide(1))
			host := newNamespace(t)
			n.must(n.journal.Write(strandedRecord(addNIC(t, host, "net1"), attachment.Attached)))
			o := n.options()
			o.Rescue, o.MetricsAddress = rescue, freeAddress(t)
			decided := func() bool {
				if rescue {
					return strings.Contains(n.logs.String(), "rescued a NIC")
				}
				_, metrics := n.ask(o.MetricsAddress, "/metrics")
				return strings.Contains(metrics, "rescan_seconds_count 3\n")
			}
			ctx, cancel := context.WithCancel(n.ctx)
			go func() {
				defer cancel()
				for n.ctx.Err() == nil && !decided() {
					time.Sleep(5 * time.Millisecond)
				}
			}()
			n.must(Run(ctx, o)) // here: only this thread is in the namespace
			if link, err := host.LinkNamed(want); err != nil || link == nil {
				t.Errorf("there is no %s (%v)\n%s", want, err, n.logs)
			}
		})
	}
}

func TestANICThatIsWhereItsRecordSaysIsLeftThere(t *testing.T) {
	n := newTestNode(t)
	host := newNamespace(t)
	link := addNIC(t, host, "net1")
	record := strandedRecord(link, attachment.Attached)
	n.must(n.journal.Write(record))
	n.must(host.LinkDel(link)) // into its pod
	i := n.inventory()
	i.links = host.Links
	_, err := i.read()
	n.must(err)
	if found := stranded(i.held, i.hostLinks); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	// Nor is one that a DEL was faster with.
	r := &rescuer{host: host, journal: n.journal, log: slog.New(slog.DiscardHandler), done: func(error) { t.Error("rescued") }}
	r.rescue(n.ctx, []*attachment.Record{record})
	n.must(n.journal.Remove("pod1", "net1"))
	r.rescue(n.ctx, []*attachment.Record{record})
}

func TestARescueThatFailsIsTriedAgainLater(t *testing.T) {
	n := newTestNode(t)
	host := newNamespace(t)
	link := addNIC(t, host, "net1")
	addNIC(t, host, "ens12np0x")
	other, err := host.LinkNamed("ens12np0x")
	n.must(err)
	n.must(host.LinkSetName(other, "ens12np0")) // the name is taken
	record := strandedRecord(link, attachment.Attached)
	n.must(n.journal.Write(record))
	var results []error
	r := &rescuer{
		host: host, journal: n.journal, log: slog.New(slog.NewTextHandler(n.logs, nil)),
		done: func(err error) { results = append(results, err) },
	}
	r.rescue(n.ctx, []*attachment.Record{record})
	r.rescue(n.ctx, []*attachment.Record{record}) // too early
	if len(results) != 1 || results[0] == nil {
		t.Fatalf("results %v", results)
	}
	n.must(host.LinkDel(other))
	clear(r.again)
	r.rescue(n.ctx, []*attachment.Record{record})
	if len(results) != 2 || results[1] != nil {
		t.Errorf("results %v\n%s", results, n.logs)
	}
}

func TestLinksAndDevicesThatChangeAreNoticed(t *testing.T) {
	n := newTestNode(t)
	host := newNamespace(t)
	ctx, stop := context.WithCancel(n.ctx)
	seen := make(chan struct{}, 1)
	done := make(chan struct{})
	source := kernelSources()[0]
	f, err := source.open() // on this thread, in its namespace
	n.must(err)
	go func() {
		defer close(done)
		source.follow(ctx, f, slog.New(slog.DiscardHandler), func() { poke(seen) })
	}()
	addNIC(t, host, "ens12np0")
	select {
	case <-seen:
	case <-n.ctx.Done():
		t.Error("not noticed")
	}
	stop()
	<-done
}

func TestUeventsAreNoticedIfTheyAreAboutRDMA(t *testing.T) {
	for message, want := range map[string]bool{
		"add@/devices/pci0000:00/0000:08:00.0/infiniband/mlx5_0\x00ACTION=add\x00SUBSYSTEM=infiniband\x00NAME=mlx5_0\x00": true,
		"remove@/class/infiniband_verbs/uverbs0\x00ACTION=remove\x00SUBSYSTEM=infiniband_verbs\x00":                       true,
		"bind@/devices/pci0000:00/0000:08:00.0\x00ACTION=bind\x00SUBSYSTEM=pci\x00":                                       true,
		"add@/devices/virtual/bdi/7:0\x00ACTION=add\x00SUBSYSTEM=bdi\x00":                                                 false,
	} {
		if got := isRDMAEvent([]byte(message)); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
}

func TestTheJournalIsFollowedWithoutRescansAtIntervals(t *testing.T) {
	n := newTestNode(t, eight()...)
	n.write("config.json", guide(0))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	n.must(os.MkdirAll(filepath.Join(n.state(), "attachments"), 0o755))
	devices, err := n.node().Devices()
	n.must(err)
	d := devices[3]
	n.must(n.journal.Write(&attachment.Record{
		Step: attachment.Attached, ContainerID: "c", IfName: "net1", Host: netdev.State{Name: "ens14np0"},
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 1}, Bus: d.Bus, Address: d.Address, RDMA: &d},
	}))
	n.until("it is in a pod", func() bool {
		return strings.Contains(n.logs.String(), `device="ens14np0/mlx5_3 (0000:11:00.0)" place=pod was=host holder="container c, interface net1"`)
	})
}
