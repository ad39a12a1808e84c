package status

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// full is a status with one of each.
func full() *Status {
	now := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	holder := &Holder{Pod: "a/p", Container: "0123456789abcdef", Interface: "net1", Network: "rails", Step: attachment.Attached, Since: now.Add(-90 * time.Second)}
	moving := *holder
	moving.Step, moving.Since = attachment.Prepared, time.Time{}
	return &Status{
		Node: "node-a", Time: now, RDMAMode: rdma.Exclusive,
		NICs: []NIC{
			{Netdev: "ens11np0", RDMA: "mlx5_0", Address: "0000:08:00.0", Place: inventory.InPod, Holder: holder},
			{Netdev: "ens12np0", RDMA: "mlx5_1", Address: "0000:0b:00.0", Place: inventory.InPod, Holder: &moving},
			{Address: "0000:0e:00.0", Place: inventory.OnHost},
		},
		Returned: []Return{{"ens13np0", *holder, now.Add(-time.Second), "a DEL is to come"}},
		Owed:     []Return{{"ens14np0", *holder, time.Time{}, "its name is taken"}},
		Units:    []Units{{"rdma/a", "a/p", "main", []string{"1", "2"}}},
		Plugin: &Plugin{Version: "v1.2.3", NotReady: "the kubelet is gone", Rescues: Rescues{OK: 11, Failed: 12}, Mistakes: 13, Clashes: 20,
			Degraded: []string{"ens11np0/mlx5_0 of rdma/a"}, Memlock: &Memlock{Raised: 14, Kept: 15},
			Resources: []Resource{
				{Name: "rdma/a", Devices: map[string]int{"host": 1, "pod": 2, "gone": 3}, Units: map[string]int{"Healthy": 4, "Unhealthy": 5}, Allocations: map[string]int{"ok": 6, "error": 7}, Connected: true},
				{Name: "rdma/b"},
			}},
		Remarks: []string{"look"}, Missing: []string{"kubelet: no answer"},
	}
}

func TestTheTextHasAllOfAStatus(t *testing.T) {
	const want = `Node node-a at 2026-11-27T06:00:00Z, RDMA mode exclusive
Device plugin v1.2.3: the kubelet is gone; rescues since its start: 11, failed: 12; mistakes in its configuration: 33
Memlock plugin: not connected: containers have the runtime's own limit; limits raised since its start: 14, left as they were: 15

Missing:
  kubelet: no answer

Look at:
  look

NIC       RDMA    ADDRESS       WHERE  HOLDER                                   NETWORK  SINCE
ens11np0  mlx5_0  0000:08:00.0  pod    a/p (net1 in 0123456789abc)              rails    2026-11-27T05:58:30Z (1m30s ago)
ens12np0  mlx5_1  0000:0b:00.0  pod    a/p (net1 in 0123456789abc), under way   rails    -
-         -       0000:0e:00.0  host   -                                        -        -

CAME BACK  WAS                          BACK                             TO BE DONE
ens13np0   a/p (net1 in 0123456789abc)  2026-11-27T05:59:59Z (1s ago)    a DEL is to come
ens14np0   a/p (net1 in 0123456789abc)  -                                its name is taken

UNITS OF  HOLDER    HOW MANY  WHICH
rdma/a    a/p main  2         1 2

RESOURCE  DEVICES ON HOST  IN PODS  GONE  HEALTHY UNITS  UNHEALTHY  ALLOCATIONS  FAILED  KUBELET
rdma/a    1                2        3     4              5          6            7       listens
rdma/b    0                0        0     0              0          0            0       does not listen

Degraded:
  ens11np0/mlx5_0 of rdma/a
`
	var b bytes.Buffer
	if err := full().Text(&b); err != nil {
		t.Fatal(err)
	}
	// As wide as it needs to be, which is the table's own affair.
	spaces := func(text string) (lines []string) {
		for line := range strings.Lines(text) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return lines
	}
	if got := b.String(); !reflect.DeepEqual(spaces(got), spaces(want)) {
		t.Errorf("%s\nwant %s", got, want)
	}
	b.Reset()
	empty := &Status{Node: "node-a", Time: full().Time}
	if err := empty.Text(&b); err != nil || b.String() != "Node node-a at 2026-11-27T06:00:00Z, RDMA mode unknown\n" {
		t.Errorf("%v, %s", err, &b)
	}
}

func TestTheJSONHasAllOfAStatus(t *testing.T) {
	var b bytes.Buffer
	if err := full().JSON(&b); err != nil {
		t.Fatal(err)
	}
	var again Status
	if err := json.Unmarshal(b.Bytes(), &again); err != nil || !strings.HasSuffix(b.String(), "\n}\n") {
		t.Fatalf("%v, %s", err, &b)
	}
	want := full()
	want.Plugin.Resources[1].Devices, want.Plugin.Resources[1].Units, want.Plugin.Resources[1].Allocations = nil, nil, nil
	if !reflect.DeepEqual(&again, want) {
		t.Errorf("%+v\nwant %+v", &again, want)
	}
}

func TestUnitsAreOneRowOfEachContainerInTheOrderOfResources(t *testing.T) {
	pods := []pod{
		{"b/p", []Units{{"rdma/b", "b/p", "main", []string{"1"}}, {"nvidia.com/gpu", "b/p", "main", []string{"2"}}, {"rdma/a", "b/p", "main", []string{"3"}}}},
		{"a/p", []Units{{"rdma/b", "a/p", "main", []string{"4"}}, {"rdma/b", "a/p", "side", []string{"5"}}, {"rdma/b", "a/p", "main", []string{"6"}}}},
	}
	want := []Units{
		{"rdma/a", "b/p", "main", []string{"3"}}, {"rdma/b", "a/p", "main", []string{"4", "6"}}, {"rdma/b", "a/p", "side", []string{"5"}}, {"rdma/b", "b/p", "main", []string{"1"}},
	}
	if got := unitsOf(pods, (&Status{}).ours()); !reflect.DeepEqual(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	says := &Status{Plugin: &Plugin{Resources: []Resource{{Name: "nvidia.com/gpu"}}}}
	if got := unitsOf(pods, says.ours()); !reflect.DeepEqual(got, []Units{{"nvidia.com/gpu", "b/p", "main", []string{"2"}}}) {
		t.Errorf("as the plugin says: %v", got)
	}
}

func TestNICsAreListedByAddressWithWhoHasThem(t *testing.T) {
	since := time.Date(2026, 11, 27, 6, 0, 0, 0, time.UTC)
	record := func(host, address string) *attachment.Record {
		return &attachment.Record{
			Step: attachment.Attached, ContainerID: "c1", IfName: "net1", Network: "rails", Created: since, Pod: attachment.Pod{Namespace: "a", Name: "p"},
			Host: netdev.State{Name: host}, NIC: attachment.NIC{Bus: "pci", Address: address, Netdev: netdev.Identity{ParentBus: "pci", Parent: address, Index: 9}},
		}
	}
	held, alone := record("ens12np0", "0000:0b:00.0"), record("ens13np0", "0000:03:00.0")
	device := func(name, address string, place inventory.Place, holder *attachment.Record, netdevs ...string) inventory.Device {
		return inventory.Device{Device: rdma.Device{Name: name, Address: address, Netdevs: netdevs}, Place: place, Holder: holder}
	}
	var s Status
	s.listNICs(inventory.Snapshot{Held: []*attachment.Record{held, alone}, HostLinks: []netlink.Link{&netlink.Device{}}, Devices: []inventory.Device{
		device("mlx5_1", "0000:0b:00.0", inventory.InPod, held, "net1"), device("mlx5_0", "0000:08:00.0", inventory.OnHost, nil, "ens11np0", "ens11np1"),
		device("mlx5_2", "0000:0e:00.0", inventory.Gone, nil),
	}})
	holder := &Holder{Pod: "a/p", Container: "c1", Interface: "net1", Network: "rails", Step: attachment.Attached, Since: since}
	want := []NIC{
		{Netdev: "ens13np0", Address: "0000:03:00.0", Place: inventory.InPod, Holder: holder},
		{Netdev: "ens11np0", RDMA: "mlx5_0", Address: "0000:08:00.0", Place: inventory.OnHost},
		{Netdev: "ens12np0", RDMA: "mlx5_1", Address: "0000:0b:00.0", Place: inventory.InPod, Holder: holder},
		{RDMA: "mlx5_2", Address: "0000:0e:00.0", Place: inventory.Gone},
	}
	if !reflect.DeepEqual(s.NICs, want) || len(s.Remarks) > 0 {
		t.Errorf("%+v\nwant %+v, %q", s.NICs, want, s.Remarks)
	}
}
