package inventory

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAnAbandonedReadLeavesNothingBehind(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	file := filepath.Join(n.Sys(), "class/infiniband/mlx5_0/ports/1/state")
	n.Must(os.Remove(file))
	n.Must(unix.Mkfifo(file, 0o600)) // a driver that hangs
	i := n.inventory()
	ctx, cancel := context.WithCancel(n.Ctx)
	done := make(chan error, 1)
	go func() { _, err := i.Read(ctx); done <- err }()
	var hanging *os.File
	n.Until("it is being read", func() bool {
		var err error
		hanging, err = os.OpenFile(file, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	hanging.Close()
	i.Wait()
	if _, err := os.Stat(n.State()); !errors.Is(err, fs.ErrNotExist) || len(i.memory.all()) != 0 {
		t.Errorf("remembered: %v, %v", i.memory.all(), err)
	}
}

func TestWhoWaitsForAReadWaitsForItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		i := &Inventory{}
		release, ended := make(chan struct{}), make(chan struct{})
		i.reading.Go(func() { <-release })
		go func() { i.Wait(); close(ended) }()
		synctest.Wait()
		select {
		case <-ended:
			t.Error("it did not wait")
		default:
		}
		close(release)
		<-ended
	})
}

func TestTheJournalIsWatched(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Attach(rdma.Shared, sysfs.MLX5(1)) // the folder is there
	ctx, stop := context.WithCancel(n.Ctx)
	changed, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		n.inventory().Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	<-changed // the watch is there
	n.Must(n.Journal.Write(&attachment.Record{
		ContainerID: "c", IfName: "net1", NIC: attachment.NIC{Netdev: netdev.Identity{Index: 1}}, Host: netdev.State{Name: "ens11np0"},
	}))
	select {
	case <-changed:
	case <-n.Ctx.Done():
		t.Error("not noticed")
	}
	stop()
	<-done
}

func TestDevicesAreSortedByTheirNamesWherever(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.look(n.inventory())
	n.Attach(rdma.Exclusive, hcas[2])
	n.Must(n.Unplug(hcas[0]))
	var names []string
	for _, d := range n.look(n.inventory()) {
		names = append(names, d.Name)
	}
	if len(names) != 8 || !slices.IsSorted(names) {
		t.Errorf("%q", names)
	}
}

func TestLinksThatCannotBeListedCostTheirOwnAttributesOnly(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	i := n.inventory()
	i.links = func(context.Context) ([]netlink.Link, error) { return nil, errors.New("permission denied") }
	if devices := byName(t, i); len(devices) != 8 || devices["mlx5_0"].NoCarrier || devices["mlx5_0"].MTU != 0 {
		t.Errorf("%v", devices)
	}
	if !strings.Contains(n.Logs.String(), "cannot list the host's links") {
		t.Errorf("logged:\n%s", n.Logs)
	}
	if s, err := i.Read(n.Ctx); err != nil || s.Unnamed == nil {
		t.Errorf("%v, %v: whoever offers NICs is not told that their names are unknown", s.Unnamed, err)
	}
	// What the last list said still holds, but for a NIC that came since.
	failing, h := i.links, node.Eight()[0]
	var known []netlink.LinkAttrs
	for _, h := range node.Eight() {
		known = append(known, netlink.LinkAttrs{Name: h.Netdev, MTU: 9000, AltNames: []string{"rail-" + h.Netdev}})
	}
	i.links = node.Links(known...)
	before := byName(t, i)
	i.links = failing
	if after := byName(t, i); !reflect.DeepEqual(after, before) || len(after[h.RDMA].AltNames) != 1 {
		t.Errorf("%+v, before %+v", after[h.RDMA], before[h.RDMA])
	}
	if s, err := i.Read(n.Ctx); err != nil || s.Unnamed != nil || len(s.HostLinks) > 0 {
		t.Errorf("%+v, %v", s, err)
	}
	n.Must(n.Add(sysfs.MLX5(20)))
	if s, err := i.Read(n.Ctx); err != nil || s.Unnamed == nil {
		t.Errorf("%v, %v", s.Unnamed, err)
	}
	// Whoever asks for nothing but these has no answer.
	if s, err := i.Held(n.Ctx); err == nil || !strings.Contains(err.Error(), "list the host's links: permission denied") {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestANICThatIsAmongTheHostsLinksAndHeldIsStranded(t *testing.T) {
	back, away := sysfs.MLX5(0), sysfs.MLX5(1)
	n := newTestNode(t, back, away)
	for container, h := range map[string]sysfs.HCA{"back": back, "away": away} {
		n.Must(n.Journal.Write(&attachment.Record{
			Step: attachment.Attached, ContainerID: container, IfName: "net1", Host: netdev.State{Name: h.Netdev},
			NIC: attachment.NIC{Bus: rdma.BusPCI, Address: h.PCI, Netdev: netdev.Identity{Index: 7, ParentBus: "pci", Parent: h.PCI, Alone: true}},
		}))
	}
	i := n.inventory()
	i.links = node.Links(netlink.LinkAttrs{Index: 7, Name: "net1", ParentDevBus: "pci", ParentDev: back.PCI})
	held, err := i.Held(n.Ctx)
	n.Must(err)
	seen, err := i.Read(n.Ctx)
	n.Must(err)
	for what, s := range map[string]Snapshot{"who asks for these": held, "who looks": seen} {
		if found := s.Stranded(); len(s.Held) != 2 || len(found) != 1 || found[0].ContainerID != "back" {
			t.Errorf("%s: held %v, stranded %v", what, s.Held, found)
		}
	}
	// In a pod it is not described by the link of its name on the host.
	i.links = node.Links(netlink.LinkAttrs{Index: 8, Name: away.Netdev, AltNames: []string{"anothers"}, MTU: 1})
	if d := byName(t, i)[away.RDMA]; d.Place != InPod || len(d.AltNames) > 0 {
		t.Errorf("%+v", d)
	}
}

func TestAMemoryThatCannotBeWrittenIsAnErrorForWhoHasADeviceForgotten(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	n.Write("state", "a file where the folder should be")
	if err := n.inventory().Forget(Device{}); err == nil || !strings.Contains(err.Error(), "write the record of devices") {
		t.Errorf("%v", err)
	}
}
