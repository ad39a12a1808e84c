package doctor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestWhatIsAsItShouldBeInAnotherWayIsNoAilment(t *testing.T) {
	withoutPeermem := func(n *fakeNode) {
		n.Helper()
		n.Must(os.RemoveAll(filepath.Join(n.Dir, "sys/module/nvidia_peermem")))
	}
	for name, change := range map[string]func(*fakeNode){
		"another vendor's GPUs": func(n *fakeNode) {
			withoutPeermem(n)
			for _, gpu := range []string{"0000:f0:00.0", "0000:f1:00.0"} {
				n.Must(os.Remove(filepath.Join(n.Sys(), "bus/pci/devices", gpu, "driver")))
			}
		},
		"NVIDIA's open driver": func(n *fakeNode) {
			withoutPeermem(n)
			n.Write("proc/driver/nvidia/version", "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  fake\n")
		},
		"two lossless priorities in a traffic class of their own": func(n *fakeNode) {
			for _, d := range n.dcb {
				d.PFC[4], d.ETS.Class[4] = true, 3
			}
		},
		"DSCPs of other traffic on one rail":   func(n *fakeNode) { n.dcb[nic].DSCP[8] = 1 },
		"a plugin of somebody else's network":  func(n *fakeNode) { n.networks(`{"type": "bridge", "ipam": {"type": "none-such"}}`) },
		"a network without an IPAM plugin":     func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "device": "ens11np0"}`) },
		"a network that lets the node choose":  func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "capabilities": {"deviceID": true}}`) },
		"the PCI address in place of the name": func(n *fakeNode) { n.networks(`{"type": "roce-host-device", "pciBusID": "0000:08:00.0"}`) },
		"the address in place of the name": func(n *fakeNode) {
			n.networks(`{"type": "roce-host-device", "device": "ens11np0", "hwaddr": "02:00:00:00:00:99"}`)
		},
		"no GPUs and an IOMMU": func(n *fakeNode) {
			for _, gpu := range []string{"0000:f0:00.0", "0000:f1:00.0"} {
				n.Must(os.RemoveAll(filepath.Join(n.Sys(), "bus/pci/devices", gpu)))
			}
			n.Write("sys/bus/pci/devices/"+function+"/iommu_group/type", "DMA\n")
			withoutPeermem(n)
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			change(n)
			if r := n.examine(); len(r.Findings) > 0 || len(r.Unseen) > 0 {
				t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
			}
		})
	}
}

func TestEveryPluginOfANetworkOfOursIsLookedFor(t *testing.T) {
	n := newFakeNode(t)
	n.networks(`{"plugins": [{"type": "roce-host-device", "device": "ens11np0", "ipam": {"type": "fake-ipam"}}, {"type": "none-1"}, {"type": "none-2", "ipam": {"type": "none-3"}}]}`,
		`{"plugins": [{"type": "none-1"}, {"type": "roce-host-device", "device": "ens11np0"}]}`)
	var where []string
	for _, f := range n.examine().Findings {
		where = append(where, f.Check+" "+filepath.Base(f.Where))
		if !strings.HasSuffix(f.What, "is not there, which network default/fake-1 needs") {
			t.Errorf("%+v", f)
		}
	}
	if slices.Sort(where); !slices.Equal(where, []string{"cni-plugin none-1", "cni-plugin none-2", "cni-plugin none-3"}) {
		t.Errorf("%q", where)
	}
}

func TestRailsAreThoseThatAreNamed(t *testing.T) {
	n := newFakeNode(t)
	n.options.NICs = []string{"mlx5_2", "ens11np0"}
	r := n.examine()
	if len(r.Rails) != 2 || len(r.Findings) > 0 {
		t.Errorf("%+v", r)
	}
	n.options.NICs = []string{"ens11np0", "ens99np0"}
	if _, err := Examine(n.Ctx, n.options); err == nil || !strings.Contains(err.Error(), "no RDMA device is on ens99np0") {
		t.Errorf("%v", err)
	}
}

func TestADriverThatCannotBeAskedForItsBridgingIsNotSeen(t *testing.T) {
	n := newFakeNode(t)
	n.options.DCB = func(string) (*netdev.DCB, error) { return nil, errors.New("no room") }
	r := n.examine()
	if len(r.Findings) > 0 || len(r.Unseen) < 4 || !strings.Contains(r.Unseen[0].Why, "no room") {
		t.Errorf("%+v, unseen %+v", r.Findings, r.Unseen)
	}
}
