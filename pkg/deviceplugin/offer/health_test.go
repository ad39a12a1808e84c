package offer

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestWhatIsWrongDependsOnThePolicy(t *testing.T) {
	h := sysfs.MLX5(0)
	for name, test := range map[string]struct {
		happens               func(n *healthNode)
		ignore, present, link string // what is wrong, in part; "" if nothing
	}{
		"nothing": {func(*healthNode) {}, "", "", ""},
		"the port is down": {func(n *healthNode) { n.Must(n.SetPort(h, "DOWN", "Disabled")) },
			"", "", "its port is DOWN, Disabled"},
		"the link is not up yet": {func(n *healthNode) { n.Must(n.SetPort(h, "ACTIVE", "Polling")) },
			"", "", "its port is ACTIVE, Polling"},
		"the netdev has no carrier": {func(n *healthNode) { n.carrier = false },
			"", "", "its netdev has no carrier"},
		"the character devices are missing": {func(n *healthNode) { n.Must(n.RemoveCharDevices(h)) },
			"", "no uverbs character device", "no uverbs character device"},
		"it is unplugged": {func(n *healthNode) { n.Must(n.Unplug(h)) },
			"", "gone", "gone"},
		"it is in a pod, all devices visible": {func(n *healthNode) { n.Attach(rdma.Shared, h) },
			"", "", ""},
		"it is in a pod, all devices visible, port down": {func(n *healthNode) { n.Attach(rdma.Shared, h); n.Must(n.SetPort(h, "DOWN", "Disabled")) },
			"", "", "its port is DOWN"},
		"it was moved to a pod with its port down": {func(n *healthNode) { n.Must(n.SetPort(h, "DOWN", "Disabled")); n.Attach(rdma.Exclusive, h) },
			"", "", ""}, // from there on only the pod sees the port
		"it is unplugged from a pod": {func(n *healthNode) { n.Attach(rdma.Exclusive, h); n.Must(n.Unplug(h)) },
			"", "gone", "gone"},
	} {
		t.Run(name, func(t *testing.T) {
			n := &healthNode{newTestNode(t, h), true}
			i := n.inventory(func(context.Context) ([]netlink.Link, error) { return n.link(h), nil })
			n.look(i)
			test.happens(n)
			devices := n.look(i)
			if len(devices) != 1 {
				t.Fatalf("%d devices", len(devices))
			}
			for policy, want := range map[config.HealthPolicy]string{
				config.HealthIgnore: test.ignore, config.HealthPresent: test.present, config.HealthLink: test.link,
			} {
				if got := Ailment(devices[0], policy); (got == "") != (want == "") || !strings.Contains(got, want) {
					t.Errorf("%s: got %q, want %q", policy, got, want)
				}
			}
		})
	}
}

func TestOnlyADeviceThatIsHardwareNeedsADriver(t *testing.T) {
	for soft, want := range map[bool]string{true: "", false: "no driver is bound to it"} {
		away := inventory.Device{Place: inventory.InPod, Device: rdma.Device{Soft: soft, CharDevices: []string{"/dev/infiniband/uverbs0"}}}
		if got := Ailment(away, config.HealthPresent); got != "" { // nobody may have read it
			t.Errorf("in a pod, soft %v: %q", soft, got)
		}
		d := inventory.Device{Place: inventory.OnHost, Device: rdma.Device{Name: "rxe0", Soft: soft, CharDevices: []string{"/dev/infiniband/uverbs0"}}}
		if got := Ailment(d, config.HealthPresent); got != want {
			t.Errorf("soft %v: %q, want %q", soft, got, want)
		}
	}
}

func TestAPortOfWhichNothingIsKnownHasNoLink(t *testing.T) {
	for want, ports := range map[string][]rdma.Port{
		"it has no port yet":                   nil,
		"the state of its port cannot be read": {{Number: 1, LinkLayer: "Ethernet"}},
		"its port is DOWN, Disabled":           {{Number: 1, State: "DOWN", PhysState: "Disabled"}, {Number: 2}},
		"":                                     {{Number: 1}, {Number: 2, State: "ACTIVE", PhysState: "LinkUp"}},
	} {
		d := inventory.Device{Device: rdma.Device{Driver: "mlx5_core", Ports: ports, CharDevices: []string{"/dev/infiniband/uverbs0"}}, Place: inventory.OnHost, Visible: true}
		if got := Ailment(d, config.HealthLink); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// A healthNode has a link with a carrier, or without.
type healthNode struct {
	*testNode
	carrier bool
}

func (n *healthNode) link(h sysfs.HCA) []netlink.Link {
	a := netlink.LinkAttrs{Index: 2, Name: h.Netdev}
	if n.carrier {
		a.RawFlags = unix.IFF_LOWER_UP
	}
	return []netlink.Link{&netlink.Device{LinkAttrs: a}}
}

func TestHealthSettlesBeforeItIsBelieved(t *testing.T) {
	h := NewHealth(2 * time.Second)
	begin := time.Now()
	for n, step := range []struct {
		at      time.Duration
		why     string
		settled string
		news    bool
	}{
		{0, "", "", false},
		{1 * time.Second, "down", "", false},
		{2 * time.Second, "", "", false}, // it was a flap
		{3 * time.Second, "down", "", false},
		{4 * time.Second, "still down", "", false},
		{5 * time.Second, "down", "down", true},
		{6 * time.Second, "gone", "gone", false}, // ill is ill
		{7 * time.Second, "", "gone", false},
		{8 * time.Second, "down", "down", false},
		{9 * time.Second, "", "down", false},
		{11 * time.Second, "", "", true},
	} {
		settled, news := h.Judge("a", step.why, begin.Add(step.at))
		if settled != step.settled || news != step.news {
			t.Errorf("step %d: got %q %v, want %q %v", n, settled, news, step.settled, step.news)
		}
	}
	if !h.Next().IsZero() {
		t.Errorf("next at %s", h.Next().Sub(begin))
	}
}

func TestADeviceThatStartsIllIsWellAtOnce(t *testing.T) {
	h := NewHealth(time.Hour)
	now := time.Now()
	if settled, news := h.Judge("a", "no driver", now); settled == "" || !news {
		t.Error("an ill device is taken for well")
	}
	if settled, news := h.Judge("a", "", now); settled != "" || !news {
		t.Error("a driver that has started has to wait")
	}
	if settled, news := h.Judge("a", "down", now); settled != "" || news {
		t.Error("from then on it has to settle")
	}
	if got := h.Next(); !got.Equal(now.Add(time.Hour)) {
		t.Errorf("next at %s", got)
	}
	h.Judge("b", "", now)
	h.Judge("b", "down", now.Add(-time.Minute))
	if got := h.Next(); !got.Equal(now.Add(time.Hour - time.Minute)) { // whichever comes first
		t.Errorf("next at %s", got)
	}
	h.Forget(map[string]bool{})
	if len(h.states) != 0 || !h.Next().IsZero() {
		t.Error("not forgotten")
	}
}
