package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/terminal"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAllChecksAreSilentAboutAHealthyNode(t *testing.T) {
	r := newFakeNode(t).examine()
	if r.Verdict != VerdictClean || len(r.Findings) > 0 || len(r.Unseen) > 0 {
		t.Errorf("%+v", r)
	}
	if len(r.Rails) != 8 || r.Mode != "exclusive" || r.Schema != Schema {
		t.Errorf("%+v", r)
	}
}

// An ailment makes a healthy node one that a single check has something to say
// about, in one place.
type ailment struct {
	check, where, what string
	make               func(*fakeNode)
}

const nic, hca, function = "ens11np0", "mlx5_0", "0000:08:00.0"

func ailments() []ailment {
	first := sysfs.MLX5(0)
	write := func(path, content string) func(*fakeNode) {
		return func(n *fakeNode) { n.Helper(); n.Write(path, content+"\n") }
	}
	remove := func(path string) func(*fakeNode) {
		return func(n *fakeNode) { n.Helper(); n.Must(os.RemoveAll(filepath.Join(n.Dir, path))) }
	}
	networks := func(configs ...string) func(*fakeNode) { return func(n *fakeNode) { n.networks(configs...) } }
	return []ailment{
		{"modules", "rdma_ucm", "is not loaded", remove("sys/module/rdma_ucm")},
		{"rails", "the node", "none of its 8 RDMA devices", func(n *fakeNode) {
			n.options.Choose = func([]inventory.Device) []inventory.Device { return nil }
			n.options.Ignore = []string{"pfc", "trust", "ets", "dcb-differs", "ecn"}
		}},
		{"rails", "the node", "has no RDMA device", func(n *fakeNode) {
			for _, h := range node.Eight() {
				n.Must(n.TakeRDMA(h))
			}
			n.options.Ignore = []string{"pfc", "trust", "ets", "dcb-differs", "ecn"}
		}},
		{"rdma-mode", "network default/fake-1", "requires shared, the node is in mode exclusive", networks(`{"type": "roce-host-device", "device": "ens11np0", "rdmaMode": "shared"}`)},
		{"rdma-mode-boot", "the node", "nothing below modprobe.d", write("etc/modprobe.d/fake.conf", "#options ib_core netns_mode=0")},
		{"rdma-mode-boot", "/usr/lib/modprobe.d/fake-vendor.conf", "sets mode shared", write("usr/lib/modprobe.d/fake-vendor.conf", "options ib_core netns_mode=1")},
		{"rdma-mode-boot", "the kernel's command line", "sets mode shared", write("proc/cmdline", "ib_core.netns_mode=Y iommu=pt")},
		{"gone", nic, "is gone; it was held by pod default/gpu-rdma-pod-1", func(n *fakeNode) {
			n.Attach(rdma.Exclusive, first)
			n.Must(n.Unplug(first))
		}},
		{"port", nic, "port 1 of mlx5_0 is DOWN (Polling)", func(n *fakeNode) {
			n.Must(n.SetPort(first, "DOWN", "Polling"))
			n.withoutRoCEv2() // as the kernel has it of such a port
		}},
		{"down", nic, "is set down", func(n *fakeNode) {
			n.Must(n.SetPort(first, "DOWN", "Disabled"))
			n.Write("sys/class/net/ens11np0/flags", "0x1002\n")
		}},
		{"gid", nic, "no RoCE v2 GID", (*fakeNode).withoutRoCEv2},
		{"mtu", nic, "MTU 1500: RoCE packets of 1024 bytes", write("sys/class/net/ens11np0/mtu", "1500")},
		{"pcie", nic, "x8 at 32 GT/s, and could do x16 at 32 GT/s", write("sys/bus/pci/devices/"+function+"/current_link_width", "8")},
		{"pcie", nic, "x16 at 16 GT/s, and could do x16 at 32 GT/s", write("sys/bus/pci/devices/"+function+"/current_link_speed", "16.0 GT/s PCIe")},
		{"numa", nic, "the firmware does not say", write("sys/bus/pci/devices/"+function+"/numa_node", "-1")},
		{"topology", "kubelet.yaml", "topologyManagerPolicy is none", write("kubelet.yaml", "kind: KubeletConfiguration")},
		{"topology", "kubelet.yaml", "topologyManagerPolicy is none", write("kubelet.yaml", `{"kubeletconfig": {"topologyManagerPolicy": "none"}}`)},
		{"acs", "0000:00:01.0", "ACSCtl 0x001d", func(n *fakeNode) { n.Write("sys/bus/pci/devices/0000:00:01.0/config", configSpace(0x1d)) }},
		{"acs", "0000:00:01.0", "ACSCtl 0x0004", func(n *fakeNode) { n.Write("sys/bus/pci/devices/0000:00:01.0/config", configSpace(0x04)) }},
		{"acs", "0000:00:01.0", "ACSCtl 0x0008", func(n *fakeNode) { n.Write("sys/bus/pci/devices/0000:00:01.0/config", configSpace(0x08)) }},
		{"iommu", nic, "DMA-FQ", write("sys/bus/pci/devices/"+function+"/iommu_group/type", "DMA-FQ")},
		{"iommu", "GPU 0000:f1:00.0", "DMA", write("sys/bus/pci/devices/0000:f1:00.0/iommu_group/type", "DMA")},
		{"gpudirect", "the node", "not nvidia_peermem", remove("sys/module/nvidia_peermem")},
		{"pfc", nic, "PFC is off", everywhere(func(d *netdev.DCB) { d.PFC = &[8]bool{} })},
		{"trust", nic, "trusts no DSCP", everywhere(func(d *netdev.DCB) { d.DSCP = nil })},
		{"trust", nic, "no DSCP leads to the lossless priority 3", everywhere(func(d *netdev.DCB) { d.DSCP = map[uint16]uint8{26: 4} })},
		{"ets", nic, "shares traffic class 0 with 0, 1, 2, 4, 5, 6, 7", everywhere(func(d *netdev.DCB) { d.ETS = &netdev.ETS{} })},
		{"ets", nic, "0 % of the bandwidth", everywhere(func(d *netdev.DCB) { d.ETS.Bandwidth[3] = 0 })},
		{"dcb-differs", nic, "lossless 3, 4, DSCP 26 is 3; most rails: lossless 3, DSCP 26 is 3", func(n *fakeNode) { n.dcb[nic].PFC[4] = true }},
		{"ecn", nic, "ECN is off for priority 3 (roce_rp)", write("sys/class/net/ens11np0/ecn/roce_rp/enable/3", "0")},
		{"firmware", nic, "has firmware 28.38.1000, the other boards of kind MT_0000000838 have 28.39.1002", write("sys/class/infiniband/mlx5_0/fw_ver", "28.38.1000")},
		{"counters", nic, "out_of_sequence grew by 7 since", func(n *fakeNode) { n.Must(n.SetCounter(first, "hw_counters/out_of_sequence", "107")) }},
		{"memlock", "containerd (process 4242)", "may lock 8388608 bytes", write("proc/4242/limits", limits("8388608"))},
		{"memlock-plugin", "the node", "is not connected to the container runtime", func(n *fakeNode) {
			n.Write("proc/4242/limits", limits("8388608"))
			n.options.Memlock = plugin(Memlock{Wanted: true})
		}},
		{"network-manager", nic, "NetworkManager lacks ipv4.route-metric", write("run/NetworkManager/devices/10", "[device]\nconnection-uuid=fake-1\nroute-metric-default-effective=101")},
		{"cni-plugin", "opt/cni/bin/fake-ipam", "is not there, which network default/fake-1 needs", remove("opt/cni/bin/fake-ipam")},
		{"cni-plugin", "opt/cni/bin/fake-ipam", "is no program", func(n *fakeNode) { n.Must(os.Chmod(filepath.Join(n.Dir, "opt/cni/bin/fake-ipam"), 0o644)) }},
		{"cni-version", "opt/cni/bin/roce-host-device", "is version v0, this program is v-fake", func(n *fakeNode) {
			n.options.PluginVersion = func(context.Context, string) (string, error) { return "v0", nil }
		}},
		{"policy", "/etc/cni/roce-host-device.json", "nisc", write("etc/cni/roce-host-device.json", `{"nisc": []}`)},
		{"network-config", "network default/fake-1", "spec.config cannot be read", networks(`{"type":`)},
		{"networks", "network default/fake-2", `device "ens99np0" is not on this node`, networks(`{"type": "roce-host-device", "device": "ens12np0"}`, `{"type": "roce-host-device", "device": "ens99np0"}`)},
		{"networks", "network default/fake-1", `hwaddr "02:00:00:00:00:99"`, networks(`{"plugins": [{"type": "roce-host-device", "hwaddr": "02:00:00:00:00:99"}]}`)},
		{"networks", "network default/fake-1", `pciBusID "0000:99:00.0"`, networks(`{"type": "roce-host-device", "pciBusID": "0000:99:00.0"}`)},
		{"networks", "network default/fake-1", `kernelpath "/sys/devices/pci0000:99"`, networks(`{"type": "roce-host-device", "kernelpath": "/sys/devices/pci0000:99"}`)},
		{"journal", "/state", "is writable by users other than root", func(n *fakeNode) {
			n.Must(os.Mkdir(n.State(), 0o755))
			n.Must(os.Chmod(n.State(), 0o777))
			n.options.Ignore = []string{"leftovers", "owed", "counters"} // which cannot be seen then
		}},
		{"journal", "attachments/c1@net1.json", "is no record", write("state/attachments/c1@net1.json", "{")},
		{"leftovers", "attachments/c1@net1.json.bad", "was set aside", write("state/attachments/c1@net1.json.bad", "{")},
		{"leftovers", "attachments", "an ADD of container c1, interface net1", write("state/attachments/c1@net1.json.new", "{")},
		{"leftovers", nic, "without its state", func(n *fakeNode) {
			n.Attach(rdma.Shared, first)
			n.Must(n.ReturnNetdev(first))
			n.rail(0, first)
			n.options.Links = node.Links(netlink.LinkAttrs{Name: "net1", Index: 10, ParentDev: function, ParentDevBus: "pci", PermHWAddr: mac(first)})
		}},
		{"owed", nic, "not yet as it was", func(n *fakeNode) {
			n.Must(n.Journal.Owe(&attachment.Record{
				Step: attachment.Returned, ContainerID: "c1", IfName: "net1",
				NIC: attachment.NIC{Netdev: netdev.Identity{ParentBus: "pci", Parent: function, Index: 10, PermanentMAC: first.MAC}}, Host: netdev.State{Name: nic},
			}))
		}},
		{"cni-plugin", "opt/cni/bin/fake-ipam", "is no program", func(n *fakeNode) {
			n.Must(os.Remove(filepath.Join(n.Dir, "opt/cni/bin/fake-ipam")))
			n.Must(os.Mkdir(filepath.Join(n.Dir, "opt/cni/bin/fake-ipam"), 0o755))
		}},
		{"ecn", nic, "ECN is off for priority 3 (roce_np)", write("sys/class/net/ens11np0/ecn/roce_np/enable/3", "0")},
		{"ecn", nic, "ECN is off for priority 4 (roce_np, roce_rp)", func(n *fakeNode) {
			everywhere(func(d *netdev.DCB) { d.PFC, d.DSCP = &[8]bool{4: true}, map[uint16]uint8{26: 4} })(n)
			for _, file := range []string{"np/enable/3", "np/enable/4", "rp/enable/4"} {
				n.Write("sys/class/net/ens11np0/ecn/roce_"+file, "0\n")
			}
		}},
		{"memlock", "crio (process 4242)", "may lock 65536 bytes", func(n *fakeNode) {
			n.files(map[string]string{"proc/4242/comm": "crio", "proc/4242/limits": limits("65536")})
		}},
		{"memlock", "dockerd (process 4242)", "may lock 65536 bytes", func(n *fakeNode) {
			n.files(map[string]string{"proc/4242/comm": "dockerd", "proc/4242/limits": limits("65536")})
		}},
		{"port", nic, "port 2 of mlx5_0 is INIT (LinkUp)", func(n *fakeNode) {
			port := "sys/class/infiniband/mlx5_0/ports/2/"
			n.files(map[string]string{port + "link_layer": "Ethernet", port + "state": "2: INIT", port + "phys_state": "5: LinkUp"})
		}},
		{"modules", "ib_uverbs", "is not loaded", func(n *fakeNode) {
			n.Must(errors.Join(os.RemoveAll(filepath.Join(n.Sys(), "module/ib_uverbs")), os.RemoveAll(filepath.Join(n.Sys(), "class/infiniband_verbs"))))
		}},
		{"rdma-mode-boot", "/run/modprobe.d/fake-run.conf", "sets mode shared", write("run/modprobe.d/fake-run.conf", "options ib_core recv_queue_size=64 netns_mode=on")},
		{"iommu", "GPU 0000:f1:00.0", "DMA", func(n *fakeNode) {
			driver := filepath.Join(n.Sys(), "bus/pci/devices/0000:f1:00.0/driver")
			n.Must(errors.Join(os.Remove(driver), os.Symlink("../../../bus/pci/drivers/amdgpu", driver)))
			n.Write("sys/bus/pci/devices/0000:f1:00.0/iommu_group/type", "DMA\n")
		}},
	}
}

// withoutRoCEv2 leaves the first rail GIDs of RoCE v1 alone.
func (n *fakeNode) withoutRoCEv2() {
	n.Helper()
	for i := range 4 {
		n.Write(fmt.Sprintf("sys/class/infiniband/mlx5_0/ports/1/gid_attrs/types/%d", i), "IB/RoCE v1\n")
	}
}

// plugin is a memlock plugin that is so.
func plugin(m Memlock) func(context.Context) (Memlock, error) {
	return func(context.Context) (Memlock, error) { return m, nil }
}

// everywhere changes the bridging of all rails, so that they do not differ.
func everywhere(change func(*netdev.DCB)) func(*fakeNode) {
	return func(n *fakeNode) {
		for _, d := range n.dcb {
			change(d)
		}
	}
}

func mac(h sysfs.HCA) []byte {
	var b [6]byte
	for i, part := range strings.Split(h.MAC, ":") {
		_, _ = fmt.Sscanf(part, "%x", &b[i])
	}
	return b[:]
}

func TestOneCheckAloneFindsEachAilment(t *testing.T) {
	for _, a := range ailments() {
		t.Run(a.check+"/"+a.what, func(t *testing.T) {
			n := newFakeNode(t)
			a.make(n)
			r := n.examine()
			if len(r.Unseen) > 0 && n.options.Ignore == nil {
				t.Errorf("unseen: %+v", r.Unseen)
			}
			if len(r.Findings) == 0 {
				t.Fatal("nothing was found")
			}
			for _, f := range r.Findings {
				if f.Check != a.check {
					t.Errorf("%s finds it, too: %+v", f.Check, f)
				}
			}
			if f := r.Findings[0]; !strings.HasSuffix(f.Where, a.where) || !strings.Contains(f.What, a.what) || strings.Contains(f.Remedy, "{}") {
				t.Errorf("%+v", f)
			}
		})
	}
}

func TestEveryCheckHasAnAilment(t *testing.T) {
	found := ailments()
	for _, c := range checks() {
		if !slices.ContainsFunc(found, func(a ailment) bool { return a.check == c.id }) {
			t.Errorf("no test has %s find anything", c.id)
		}
	}
}

func TestAnExaminationChangesNothing(t *testing.T) {
	n := newFakeNode(t)
	before := tree(t, n.Dir)
	n.examine()
	if after := tree(t, n.Dir); !slices.Equal(after, before) {
		t.Errorf("before %v\nafter %v", before, after)
	}
}

func tree(t *testing.T, root string) (all []string) {
	t.Helper()
	err := filepath.Walk(root, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			all = append(all, fmt.Sprint(path, info.Size(), info.ModTime(), info.Mode()))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// What is not mounted, or takes a capability, is not a finding.
func TestWhatCannotBeSeenIsSaidAndIsNoFinding(t *testing.T) {
	n := newFakeNode(t)
	n.options.DCB, n.options.PluginVersion, n.options.Networks = nil, nil, nil
	n.options.PluginDir, n.options.KubeletConfig, n.options.Counters = "/none", "/none", ""
	n.Must(os.RemoveAll(filepath.Join(n.Dir, "proc/4242")))
	n.Must(os.RemoveAll(filepath.Join(n.Dir, "etc/modprobe.d")))
	n.Write("sys/bus/pci/devices/0000:00:01.0/config", strings.Repeat("\x00", 64))
	n.Must(os.RemoveAll(filepath.Join(n.Dir, "sys/module/nvidia_peermem")))
	n.Must(os.RemoveAll(filepath.Join(n.Dir, "proc/driver")))
	for _, h := range node.Eight() {
		n.Must(os.RemoveAll(filepath.Join(n.Dir, "sys/class/net", h.Netdev, "ecn")))
	}
	r := n.examine()
	if len(r.Findings) > 0 || r.Verdict != VerdictClean {
		t.Errorf("%+v", r.Findings)
	}
	var unseen []string
	for _, u := range r.Unseen {
		unseen = append(unseen, u.Check)
	}
	want := []string{"rdma-mode", "cni-plugin", "network-config", "rdma-mode-boot", "topology", "acs", "gpudirect", "pfc", "trust", "ets", "dcb-differs", "ecn", "counters", "memlock", "cni-version", "networks"}
	if !slices.Equal(unseen, want) {
		t.Errorf("unseen %v", unseen)
	}
}

func TestWhereThePluginRaisesTheMemlockLimitTheRuntimesOwnIsNoFinding(t *testing.T) {
	for name, c := range map[string]struct {
		ask    func(context.Context) (Memlock, error)
		check  string // that finds something
		unseen string
	}{
		"connected":     {plugin(Memlock{Wanted: true, Connected: true}), "", ""},
		"no plugin":     {plugin(Memlock{}), "memlock", ""},
		"no answer":     {func(context.Context) (Memlock, error) { return Memlock{}, errors.New("no answer") }, "memlock", "memlock-plugin"},
		"nobody to ask": {nil, "memlock", ""},
	} {
		t.Run(name, func(t *testing.T) {
			n := newFakeNode(t)
			n.Write("proc/4242/limits", limits("8388608"))
			n.options.Memlock = c.ask
			r := n.examine()
			var found, unseen string
			for _, f := range r.Findings {
				found += f.Check
			}
			for _, u := range r.Unseen {
				unseen += u.Check
			}
			if found != c.check || unseen != c.unseen {
				t.Errorf("found %q, not seen %q", found, unseen)
			}
		})
	}
}

func TestCountersAreComparedWithTheRunBeforeInTheSameBoot(t *testing.T) {
	n := newFakeNode(t)
	for _, step := range []struct {
		value, boot     string
		findings, blind int
	}{
		{"110", "fake-boot-1", 0, 1}, // another boot than the fixture's
		{"110", "fake-boot-1", 0, 0},
		{"111", "fake-boot-1", 1, 0},
		{"3", "fake-boot-1", 0, 0}, // the driver was loaded anew
		{"4", "fake-boot-2", 0, 1},
	} {
		n.Boot(step.boot)
		n.networks(`{"type": "roce-host-device", "device": "ens11np0"}`)
		n.Must(n.SetCounter(sysfs.MLX5(0), "counters/link_downed", step.value))
		r := n.examine()
		if len(r.Findings) != step.findings || len(r.Unseen) != step.blind {
			t.Errorf("%+v: %+v %+v", step, r.Findings, r.Unseen)
		}
		n.Must(r.WriteCounters(n.options.Counters))
	}
	n.Must(os.WriteFile(n.options.Counters, []byte("{"), 0o600))
	n.networks(`{"type": "roce-host-device", "device": "ens11np0"}`)
	if r := n.examine(); len(r.Unseen) != 1 || r.Unseen[0].Check != "counters" {
		t.Errorf("%+v", r.Unseen)
	}
}

// What a pod has is as its network says; its hardware is the node's all the same.
func TestOfANICInAPodItsHardwareIsLookedAt(t *testing.T) {
	n := newFakeNode(t)
	n.Must(n.SetPort(sysfs.MLX5(0), "DOWN", "Polling")) // its pod may have a link
	n.Attach(rdma.Exclusive, sysfs.MLX5(0))
	n.Write("sys/bus/pci/devices/"+function+"/current_link_width", "8\n")
	r := n.examine()
	if len(r.Rails) != 8 || len(r.Findings) != 1 || r.Findings[0].Check != "pcie" || r.Findings[0].Where != nic {
		t.Errorf("%+v", r)
	}
}

func TestWhereRailsAreGivenTogetherTheTopologyManagerHasNoSay(t *testing.T) {
	n := newFakeNode(t)
	n.options.Together = true
	n.Write("kubelet.yaml", "topologyManagerPolicy: none\n")
	if r := n.examine(); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

func TestTheWorstComesFirstAndIsTheVerdict(t *testing.T) {
	n := newFakeNode(t)
	n.Write("sys/class/net/ens12np0/mtu", "1500\n")
	n.Write("sys/class/net/ens11np0/mtu", "1500\n")
	if r := n.examine(); r.Verdict != VerdictWarnings {
		t.Errorf("%+v", r)
	}
	n.Must(n.SetPort(sysfs.MLX5(7), "DOWN", "Polling"))
	n.networks()
	r := n.examine()
	if r.Verdict != VerdictBroken || r.Findings[0].Check != "port" || len(r.Findings) != 3 {
		t.Errorf("%+v", r)
	}
	var table bytes.Buffer
	n.Must(r.WriteTable(&table))
	lines := strings.Split(table.String(), "\n")
	for i, want := range [][]string{
		{"SEVERITY", "CHECK", "WHERE", "WHAT", "COSTS", "MENDED BY"},
		{"broken", "port", "ens18np0", "port 1 of mlx5_7 is DOWN (Polling)", "ethtool ens18np0"},
		{"warning", "mtu", "ens11np0,ens12np0", "for it in ens11np0 ens12np0; do ip link set $it mtu 9000; done, and at least 4200 on"},
		{},
		{"not seen: rdma-mode, network-config, networks: no networks were given"},
		{"broken: 8 rails, 1 broken, 2 warnings, 3 checks not seen"},
	} {
		for _, word := range want {
			if !strings.Contains(lines[i], word) {
				t.Errorf("line %d lacks %q:\n%s", i, word, &table)
			}
		}
	}
}

func TestAShellRunsNothingThatANameSays(t *testing.T) {
	evil := "a;id>x\x1b"
	found := func(check, template string, names ...string) []Finding {
		var all []Finding
		for _, name := range names {
			about := terminal.Word(name)
			all = append(all, Finding{Check: check, What: "is so", Where: name, Remedy: strings.ReplaceAll(template, "{}", about), template: template, about: about})
		}
		return all
	}
	for _, test := range []struct {
		findings []Finding
		want     string
	}{
		{found("down", "ip link set {} up", evil), "ip link set 'a;id>x\uFFFD' up"},
		{found("down", "ip link set {} up", "a", "a"), "ip link set a up"},
		{found("down", "ip link set {} up", "a", "b"), "for it in a b; do ip link set $it up; done"},
		{found("down", "ip link set {} up", "a", evil), "for it in a 'a;id>x\uFFFD'; do ip link set \"$it\" up; done"},
		{found("port", "ethtool {}, then the cable of {}", "a", "b"), "for it in a b; do ethtool $it; done, then the cable of $it"},
		{found("x", "reboot, and look at {}", "a", "b"), "reboot, and look at a, b"},
	} {
		if got := row(test.findings); got[5] != test.want || strings.Contains(strings.Join(got, ""), "\x1b") {
			t.Errorf("%q, want %q", got, test.want)
		}
	}
}

func TestOneLineHasTheWorst(t *testing.T) {
	n := newFakeNode(t)
	line := func() string {
		var b bytes.Buffer
		n.networks()
		n.Must(n.examine().WriteBrief(&b))
		return b.String()
	}
	if have := line(); have != "clean\n" {
		t.Error(have)
	}
	n.Write("sys/class/net/ens12np0/mtu", "1500\n")
	n.Write("sys/class/net/ens13np0/mtu", "1500\n") // as a line of the table, one with the one before
	n.Must(n.SetPort(sysfs.MLX5(0), "DOWN", "Polling"))
	n.Must(n.SetPort(sysfs.MLX5(7), "DOWN", "Polling"))
	if have := line(); have != "broken: ens11np0 port 1 of mlx5_0 is DOWN (Polling), and 2 more\n" {
		t.Error(have)
	}
}

func TestTheFeaturesAreAsNodeFeatureDiscoveryReadsThem(t *testing.T) {
	n := newFakeNode(t)
	path := filepath.Join(n.Dir, "features.d", "roce-k8s")
	n.Must(os.Mkdir(filepath.Dir(path), 0o755))
	for _, tt := range []struct {
		state, mtu string
		ok         bool
	}{
		{"ACTIVE", "9000", true},
		{"ACTIVE", "1500", true}, // a warning
		{"DOWN", "9000", false},
	} {
		n.Must(n.SetPort(sysfs.MLX5(0), tt.state, "LinkUp"))
		n.Write("sys/class/net/ens12np0/mtu", tt.mtu+"\n")
		n.networks()
		want := fmt.Sprintf("roce.nics=8\nroce.mode=exclusive\nroce.rails-ok=%t\n", tt.ok)
		n.Must(n.examine().WriteFeatures(path))
		if b, err := os.ReadFile(path); err != nil || string(b) != want {
			t.Errorf("%q, %v", b, err)
		}
	}
	n.Must((&Report{Rails: []string{}, Verdict: VerdictBroken}).WriteFeatures(path)) // no RDMA
	if b, err := os.ReadFile(path); err != nil || string(b) != "roce.nics=0\nroce.mode=none\nroce.rails-ok=false\n" {
		t.Errorf("%q, %v", b, err)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("%v, %v", files, err)
	}
}

func TestAPluginIsAskedForItsVersion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fake-plugin")
	script := "#!/bin/sh\n[ -z \"$CNI_COMMAND\" ] || exit 1\necho 'CNI plugin roce-host-device v1.2-fake' >&2\necho CNI protocol versions supported: 1.1.0 >&2\n"
	if err := os.WriteFile(path, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CNI_COMMAND", "ADD") // of whoever has started this program
	version, err := AskVersion(t.Context(), path)
	if err != nil || version != "v1.2-fake" {
		t.Errorf("%q, %v", version, err)
	}
	if _, err := AskVersion(t.Context(), path+"-none"); err == nil {
		t.Error("one that is not there answers")
	}
}

// What it has started may go on.
func TestAPluginThatHangsIsNotWaitedFor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "fake-plugin")
	hangs := path + "-hangs" // until somebody writes to it
	if err := errors.Join(unix.Mkfifo(hangs, 0o600), os.WriteFile(path, []byte("#!/bin/sh\ncat "+hangs+"\nexit 0\n"), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if f, err := os.OpenFile(hangs, os.O_WRONLY|unix.O_NONBLOCK, 0); err == nil {
			f.Close()
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		_, err := AskVersion(ctx, path)
		answered <- err
	}()
	select {
	case err := <-answered:
		if err == nil {
			t.Error("it has a version")
		}
	case <-time.After(20 * time.Second):
		t.Error("it is waited for")
	}
}

// Programs depend on these names: docs/doctor.md.
func TestTheJSONIsAsItWas(t *testing.T) {
	n := newFakeNode(t)
	n.Write("sys/class/net/ens11np0/mtu", "1500\n")
	n.options.NICs = []string{nic}
	n.networks()
	n.options.Ignore = []string{"network-config", "networks"}
	var text bytes.Buffer
	n.Must(n.examine().WriteJSON(&text))
	const want = `{
	"schema": "roce-k8s/doctor/1", "program": "v-fake", "verdict": "warnings", "mode": "exclusive", "rails": ["ens11np0"],
	"findings": [{"check": "mtu", "severity": "warning", "where": "ens11np0", "what": "MTU 1500: RoCE packets of 1024 bytes, not 4096",
		"cost": "more packets for the same data, so less bandwidth", "remedy": "ip link set ens11np0 mtu 9000, and at least 4200 on every switch port between"}],
	"unseen": [{"check": "rdma-mode", "why": "no networks were given (--networks)"}]}`
	var a, b bytes.Buffer
	n.Must(json.Compact(&a, text.Bytes()))
	n.Must(json.Compact(&b, []byte(want)))
	if a.String() != b.String() {
		t.Errorf("%s\nwant\n%s", &a, &b)
	}
}

func TestWhatMakesNoSenseIsRefused(t *testing.T) {
	for want, change := range map[string]func(*Options){
		`there is no check "mtus"; did you mean "mtu"?`: func(o *Options) { o.Ignore = []string{"mtus"} },
		`there is no check "zzzzzz"; use modules, `:     func(o *Options) { o.Ignore = []string{"mtu", "zzzzzz"} },
		"no RDMA device is on eth0":                     func(o *Options) { o.NICs = []string{"eth0"} },
		"kubectl get net-attach-def -A -o json":         func(o *Options) { o.Networks = strings.NewReader("kind: [") },
	} {
		t.Run(want, func(t *testing.T) {
			n := newFakeNode(t)
			change(&n.options)
			if r, err := Examine(n.Ctx, n.options); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

func TestManifestsAreReadAsWellAsLists(t *testing.T) {
	const manifests = "# two\nkind: NetworkAttachmentDefinition\nmetadata: {name: a}\nspec: {config: '{\"type\": \"x\"}'}\n---\nkind: Pod\n---\nkind: NetworkAttachmentDefinition\nmetadata: {name: b}\n"
	networks, err := readNetworks(strings.NewReader(manifests))
	if err != nil || len(networks) != 2 || networks[0].name != "a" || networks[0].plugins[0].Type != "x" || networks[1].plugins != nil || networks[1].broken != nil {
		t.Errorf("%+v, %v", networks, err)
	}
}

func TestTheRemedyForANetworkIsACommandThatFindsIt(t *testing.T) {
	for name, want := range map[string]string{
		"roce/net-1": "kubectl edit net-attach-def -n $(dirname roce/net-1) $(basename roce/net-1)",
		"net-1":      "kubectl edit net-attach-def -n $(dirname default/net-1) $(basename default/net-1)",
	} {
		about := terminal.Word(network{name: name}.reference())
		template := checks()[slices.IndexFunc(checks(), func(c check) bool { return c.id == "network-config" })].remedy
		if got := strings.ReplaceAll(template, "{}", about); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}
