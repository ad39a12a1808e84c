package deviceplugin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

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
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "net1")
	n.Must(n.Journal.Write(strandedRecord(link, attachment.Attached)))

	var results []error
	r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: func(err error) { results = append(results, err) }}
	i := n.inventory(host.Links)
	r.rescue(n.Ctx, n.look(i).Stranded())

	back, err := host.LinkNamed("ens12np0")
	n.Must(err)
	if back == nil || back.Attrs().MTU != 9000 || back.Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("got %+v", back)
	}
	if len(results) != 1 || results[0] != nil || !strings.Contains(n.Logs.String(), `rescued a NIC whose namespace ended without a DEL" nic=ens12np0 was="pod default/gpu-rdma-pod-1`) {
		t.Errorf("results %v, logged:\n%s", results, n.Logs)
	}
	record, _, _ := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: "net1"})
	if record == nil || record.Step != attachment.Returned {
		t.Errorf("the record for the CNI plugin, which has an address to free: %+v", record)
	}
	// Once is enough.
	if again := n.look(i).Stranded(); len(again) != 0 {
		t.Errorf("again: %v", again)
	}
}

func TestARescueCanBeTurnedOff(t *testing.T) {
	for rescue, want := range map[bool]string{true: "ens12np0", false: "net1"} {
		t.Run(want, func(t *testing.T) {
			n := newTestNode(t)
			n.Write("config.json", guide(1))
			host := node.NewHost(t)
			n.Must(n.Journal.Write(strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)))
			o := n.options()
			o.Rescue, o.MetricsAddress = rescue, freeAddress(t)
			decided := func() bool {
				_, metrics := n.ask(o.MetricsAddress, "/metrics")
				if rescue {
					return strings.Contains(metrics, `rescues_total{result="ok"} 1`+"\n")
				}
				return strings.Contains(metrics, "rescan_seconds_count 3\n")
			}
			ctx, cancel := context.WithCancel(n.Ctx)
			go func() {
				defer cancel()
				for n.Ctx.Err() == nil && !decided() {
					time.Sleep(5 * time.Millisecond)
				}
			}()
			n.Must(Run(ctx, o)) // here: only this thread is in the namespace
			n.Must(n.Ctx.Err())
			if link, err := host.LinkNamed(want); err != nil || link == nil {
				t.Errorf("there is no %s (%v)\n%s", want, err, n.Logs)
			}
		})
	}
}

func TestANICThatIsWhereItsRecordSaysIsLeftThere(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	link := node.AddNIC(t, host, "net1")
	record := strandedRecord(link, attachment.Attached)
	n.Must(n.Journal.Write(record))
	n.Must(netlink.LinkDel(link)) // into its pod
	if found := n.look(n.inventory(host.Links)).Stranded(); len(found) != 0 {
		t.Errorf("found %v", found)
	}
	// Nor is one that a DEL brought back first.
	r := &rescuer{host: host, journal: n.Journal, log: slog.New(slog.DiscardHandler), done: func(error) { t.Error("rescued") }}
	r.rescue(n.Ctx, []*attachment.Record{record})
	node.AddNIC(t, host, "net1")
	link, err := host.LinkNamed("net1")
	n.Must(err)
	returned := strandedRecord(link, attachment.Returned)
	n.Must(n.Journal.Update(returned))
	seen := *returned
	seen.Step = attachment.Attached
	r.rescue(n.Ctx, []*attachment.Record{&seen})
	n.Must(n.Journal.Remove(attachment.ID{ContainerID: "pod1", IfName: "net1"}))
	r.rescue(n.Ctx, []*attachment.Record{record})
}

func TestARescueThatFailsIsTriedAgainLater(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	name := record.Host.Name
	record.Host.Name = "no/name" // which no link can have
	n.Must(n.Journal.Write(record))
	var results []error
	r := &rescuer{
		host: host, journal: n.Journal, log: n.Log(),
		done: func(err error) { results = append(results, err) },
	}
	records := []*attachment.Record{record}
	next := r.rescue(n.Ctx, records)
	if pause := time.Until(next); pause <= 0 || pause > time.Second {
		t.Errorf("the next try is in %s", pause)
	}
	if again := r.rescue(n.Ctx, records); !again.Equal(next) || len(results) != 1 || results[0] == nil { // too early
		t.Fatalf("results %v, next %s, was %s", results, again, next)
	}
	due := func() {
		for id, failed := range r.failed {
			r.failed[id] = failedRescue{failed.pause, time.Now()}
		}
	}
	for _, longest := range []time.Duration{2, 4, 8, 16, 30, 30} {
		due()
		if pause := time.Until(r.rescue(n.Ctx, records)); pause <= longest*time.Second/2 || pause > longest*time.Second {
			t.Errorf("the next try is in %s, want %d s", pause, longest)
		}
	}
	record.Host.Name = name
	n.Must(n.Journal.Update(record))
	due()
	if next := r.rescue(n.Ctx, records); !next.IsZero() || len(results) != 8 || results[7] != nil {
		t.Errorf("results %v, next %s\n%s", results, next, n.Logs)
	}
}

func TestARescueLeavesTheNICToACNIOperationThatIsAtWork(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	n.Must(n.Journal.Write(record))
	lock, err := n.Journal.LockContainer(n.Ctx, record.ContainerID, "a DEL")
	n.Must(err)
	defer lock.Unlock()
	rescues := 0
	r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: func(error) { rescues++ }}
	records := []*attachment.Record{record}
	ctx, cancel := context.WithTimeout(n.Ctx, 5*time.Second) // it has nothing to wait for
	defer cancel()
	next := r.rescue(ctx, records)
	if pause := time.Until(next); rescues > 0 || pause <= 0 || pause > time.Second || n.Logs.String() != "" {
		t.Errorf("%d rescues, the next try is in %s\n%s", rescues, pause, n.Logs)
	}
	due := func() {
		for id, failed := range r.failed {
			r.failed[id] = failedRescue{failed.pause, time.Now()}
		}
	}
	for range 5 { // a minute, and it hangs
		due()
		r.rescue(n.Ctx, records)
	}
	if rescues != 1 || strings.Count(n.Logs.String(), "is being changed by a DEL") != 1 {
		t.Errorf("%d rescues are told of:\n%s", rescues, n.Logs)
	}
	lock.Unlock() // it was another container's, which shares the lock's file
	lock, err = n.Journal.LockNIC(n.Ctx, record.NIC.Netdev.Key(), "", "an ADD")
	n.Must(err)
	defer lock.Unlock()
	due()
	r.rescue(n.Ctx, records)
	if rescues != 2 || !strings.Contains(n.Logs.String(), "NIC ens12np0 is being changed by an ADD") {
		t.Errorf("%d rescues are told of:\n%s", rescues, n.Logs)
	}
	lock.Unlock()
	due()
	if next := r.rescue(n.Ctx, records); !next.IsZero() || rescues != 3 {
		t.Errorf("%d rescues, the next try is at %s\n%s", rescues, next, n.Logs)
	}
}

// What the kernel brings back is down: what is on it then came with it.
func TestWhatIsOnANICThatTheHostUsesStays(t *testing.T) {
	for state, stays := range map[string]bool{"up": true, "down": false} {
		t.Run(state, func(t *testing.T) {
			n := newTestNode(t)
			host := node.NewHost(t)
			link := node.AddNIC(t, host, "net1")
			n.Must(netlink.LinkAdd(&netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mv0", ParentIndex: link.Attrs().Index}}))
			if state == "up" {
				n.Must(host.SetUp(link))
			}
			record := strandedRecord(link, attachment.Attached)
			record.Host.Uppers = []string{}
			n.Must(n.Journal.Write(record))
			r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: n.Must}
			r.rescue(n.Ctx, []*attachment.Record{record})
			if upper, err := host.LinkNamed("mv0"); err != nil || (upper != nil) != stays {
				t.Errorf("%v, %v\n%s", upper, err, n.Logs)
			}
		})
	}
}

func TestANICOfANetworkManagerGetsItsAddressesFromTheJournalOnlyWhenTheManagerHadItsTime(t *testing.T) {
	for manager, waits := range map[netmanager.Manager]bool{
		netmanager.None: false, netmanager.NetworkManager: true,
		netmanager.Ifupdown: false, // udev does not run it for a NIC that appears under the pod's name
	} {
		t.Run(string(manager), func(t *testing.T) {
			n := newTestNode(t)
			host := node.NewHost(t)
			record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
			record.Manager = manager
			record.Host.Addresses = []netdev.Address{{Prefix: netip.MustParsePrefix("192.168.1.1/24")}}
			n.Must(n.Journal.Write(record))
			r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: n.Must}
			r.rescue(n.Ctx, []*attachment.Record{record})
			link, err := host.LinkNamed(record.Host.Name)
			if err != nil || link == nil {
				t.Fatalf("there is no %s (%v)\n%s", record.Host.Name, err, n.Logs)
			}
			addresses := func() int {
				list, err := netlink.AddrList(link, unix.AF_INET)
				n.Must(err)
				return len(list)
			}
			owed, err := n.Journal.Owed()
			n.Must(err)
			if !waits {
				if addresses() != 1 || len(owed) != 0 {
					t.Errorf("%d addresses, owed %v", addresses(), owed)
				}
				return
			}
			if len(owed) != 1 {
				t.Fatalf("owed: %v\n%s", owed, n.Logs)
			}
			if next := attachment.SettleDue(n.Ctx, owed, r.way); !next.Equal(owed[0].Due()) || addresses() != 0 {
				t.Errorf("%d addresses, next look %s, due %s", addresses(), next, owed[0].Due())
			}
			later := *owed[0]
			later.Back = time.Now()
			if next := attachment.SettleDue(n.Ctx, []*attachment.Record{&later, owed[0], &later}, r.way); !next.Equal(owed[0].Due()) { // the first to be due
				t.Errorf("next look %s, due %s", next, owed[0].Due())
			}
			owed[0].Back = time.Now().Add(-time.Minute)
			attachment.SettleDue(n.Ctx, owed, r.way) // of a note that is another by now, and not due
			if notes, err := n.Journal.Owed(); err != nil || len(notes) != 1 || addresses() != 0 {
				t.Fatalf("%d addresses, owed %v, %v", addresses(), notes, err)
			}
			n.Must(n.Journal.Owe(owed[0]))
			if next := attachment.SettleDue(n.Ctx, owed, r.way); !next.IsZero() || addresses() != 1 {
				t.Errorf("%d addresses, next look %s\n%s", addresses(), next, n.Logs)
			}
			if owed, err := n.Journal.Owed(); err != nil || len(owed) != 0 {
				t.Errorf("still owed: %v, %v", owed, err)
			}
		})
	}
}

func TestWhatAManagerDidNotBringIsAddedOnceThoughTheNameIsOwedForLong(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	address := netip.MustParsePrefix("192.168.1.1/24")
	record.Manager, record.Host.Addresses = netmanager.NetworkManager, []netdev.Address{{Prefix: address}}
	node.AddNIC(t, host, record.Host.Name)
	n.Must(n.Journal.Write(record))
	r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: n.Must}
	r.rescue(n.Ctx, []*attachment.Record{record})
	link, err := host.Link(n.Ctx, record.NIC.Netdev, host)
	n.Must(err)
	for _, want := range []int{1, 0} {
		owed, err := n.Journal.Owed()
		n.Must(err)
		if len(owed) != 1 {
			t.Fatalf("owed: %v\n%s", owed, n.Logs)
		}
		owed[0].Back = time.Now().Add(-time.Minute) // the manager has had its time
		n.Must(n.Journal.Owe(owed[0]))
		attachment.SettleDue(n.Ctx, owed, r.way)
		addresses, err := netlink.AddrList(link, unix.AF_INET)
		n.Must(err)
		if len(addresses) != want {
			t.Errorf("addresses %v, want %d\n%s", addresses, want, n.Logs)
		}
		n.Must(host.DeleteAddresses(link, record.Host.Addresses)) // the host wants none
	}
}

func TestANameThatIsTakenIsGivenBackWhenItIsFree(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	node.AddNIC(t, host, record.Host.Name)
	squatter, err := host.LinkNamed(record.Host.Name)
	n.Must(err)
	n.Must(n.Journal.Write(record))
	r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: n.Must}
	r.rescue(n.Ctx, []*attachment.Record{record})
	for _, free := range []bool{false, true} {
		if free {
			n.Must(netlink.LinkDel(squatter))
		}
		owed, err := n.Journal.Owed()
		n.Must(err)
		if len(owed) != 1 {
			t.Fatalf("owed: %v\n%s", owed, n.Logs)
		}
		attachment.SettleDue(n.Ctx, owed, r.way)
	}
	if owed, err := n.Journal.Owed(); err != nil || len(owed) != 0 {
		t.Errorf("still owed: %v, %v\n%s", owed, err, n.Logs)
	}
	if link, err := host.LinkNamed(record.Host.Name); err != nil || link == nil {
		t.Errorf("there is no %s (%v)", record.Host.Name, err)
	}
}

func TestTheJournalIsFollowedWithoutRescansAtIntervals(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	n.Must(os.MkdirAll(filepath.Join(n.State(), "attachments"), 0o755))
	devices, err := n.RDMA().Devices()
	n.Must(err)
	d := devices[3]
	n.Must(n.Journal.Write(&attachment.Record{
		Step: attachment.Attached, ContainerID: "c", IfName: "net1", Host: netdev.State{Name: "ens14np0"},
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 1}, Bus: d.Bus, Address: d.Address, RDMA: &d},
	}))
	n.Until("it is in a pod", func() bool {
		return strings.Contains(n.Logs.String(), `device="ens14np0/mlx5_3 (0000:11:00.0)" place=pod was=host holder="container c, interface net1"`)
	})
}

func TestWhatIsOwedIsCountedUntilItIsSettled(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	record.Manager, record.Back = netmanager.NetworkManager, time.Now() // not due yet
	m := newManager(n.options(), nil)
	m.rescuer = &rescuer{host: host, journal: n.Journal, log: n.Log(), done: n.Must}
	free := make(chan struct{}, 1)
	free <- struct{}{}
	look := func(want float64) {
		t.Helper()
		m.rescue(n.Ctx, inventory.Snapshot{}, free)
		m.abandoned.Wait()
		if got := scrape(t, m.metrics)["owed"].Metric[0].Gauge.GetValue(); got != want {
			t.Errorf("%g are owed, want %g", got, want)
		}
	}
	look(0)
	n.Must(n.Journal.Owe(record))
	look(1)
	record.Back = record.Back.Add(time.Until(record.Due()) * -1).Add(50 * time.Millisecond)
	n.Must(n.Journal.Owe(record))
	look(1)
	select { // another look when it is due
	case <-m.events:
	case <-n.Ctx.Done():
		t.Error("nobody comes back to it")
	}
	record.Back = time.Now().Add(-time.Minute)
	n.Must(n.Journal.Owe(record))
	look(1) // it is due, and settled
	look(0)
	if link, err := host.LinkNamed(record.Host.Name); err != nil || link == nil {
		t.Errorf("there is no %s (%v)\n%s", record.Host.Name, err, n.Logs)
	}
	owed := filepath.Join(n.State(), "owed")
	n.Must(errors.Join(os.RemoveAll(owed), os.WriteFile(owed, nil, 0o600)))
	look(0)
	look(0)
	if strings.Count(n.Logs.String(), "cannot list what is owed to NICs") != 1 || strings.Count(n.Logs.String(), owed) != 1 {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

func TestOfRescuesThatWaitTheFirstIsComeBackTo(t *testing.T) {
	soon, late := time.Now().Add(time.Hour), time.Now().Add(2*time.Hour)
	for _, again := range [][]time.Time{{soon, late}, {late, soon}} {
		r := &rescuer{failed: map[string]failedRescue{"a@net1": {time.Second, again[0]}, "b@net1": {time.Second, again[1]}}}
		if next := r.rescue(t.Context(), []*attachment.Record{{ContainerID: "a", IfName: "net1"}, {ContainerID: "b", IfName: "net1"}}); !next.Equal(soon) || len(r.failed) != 2 {
			t.Errorf("%s, %v", next, r.failed)
		}
	}
}

func TestARecordOfAnEarlierBootRescuesNothing(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	record := strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)
	n.Must(n.Journal.Write(record))
	n.Boot("22222222-0000-0000-0000-000000000000")
	r := &rescuer{host: host, journal: n.Journal, log: n.Log(), done: func(error) { t.Error("rescued") }}
	r.rescue(n.Ctx, []*attachment.Record{record})
	if link, err := host.LinkNamed("net1"); err != nil || link == nil {
		t.Errorf("it has another name (%v)\n%s", err, n.Logs)
	}
}
