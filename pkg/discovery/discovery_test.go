package discovery

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

const examples = "../../deployments/examples/"

// fakeGuideNode is the JSON of the guide's node, as far as that is known, for tests
// of other modules.
const fakeGuideNode = "testdata/fake-guide-node.json"

// guide is the addressing of the operator's guide.
func guide() Addressing { return Addressing{IPAM: Whereabouts, Range: GuideRange} }

// describeFake is what is found on the guide's node, of which the host needs the
// gateway's NIC.
func describeFake(t *testing.T, change ...func(*node.FakeGuideNode, *node.Node)) *Node {
	t.Helper()
	n, fake := node.NewHere(t), node.NewFakeGuideNode()
	for _, c := range change {
		c(&fake, n)
	}
	n.Must(fake.Add(n.Tree))
	i := inventory.New(inventory.Options{Node: n.RDMA(), Journal: n.Journal, StateDir: n.State(), Links: node.Links(fake.Links()...), Log: n.Log()})
	seen, err := i.Read(n.Ctx)
	n.Must(err)
	found := &Node{Version: nodeVersion, Name: "node-a", RDMAMode: rdma.Shared}
	found.Rails, found.LeftOut = describe(n.RDMA(), seen, func(link netlink.Link, _ rdma.Device) (string, error) {
		if link.Attrs().Name == fake.Gateway.Netdev {
			return "the host's default route goes through it", nil
		}
		return "", nil
	})
	found.GPUs, err = gpus(n.RDMA())
	n.Must(err)
	pair(found.Rails, found.GPUs)
	return found
}

func printed(t *testing.T, f *Fleet, output string, a Addressing) string {
	t.Helper()
	var b bytes.Buffer
	if err := f.Print(&b, output, a); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// bare is YAML without comments.
func bare(text string) string {
	return regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(text, "")
}

func example(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bare(string(b))
}

func TestTheGuidesNodeGivesTheGuidesFilesToTheLetter(t *testing.T) {
	f := Merge([]*Node{describeFake(t)})
	router := guide()
	router.Gateway = First
	first, _, _ := strings.Cut(example(t, examples+"guide-pods.yaml"), "---\n")
	configMap := strings.Replace(example(t, "../../deployments/base/configmap.yaml"), "  name: rdma-devices\n", "  name: rdma-devices\n  namespace: kube-system\n", 1)
	networks := example(t, examples+"guide-networks.yaml")
	// Only the names differ.
	kept := strings.NewReplacer(`"roce-host-device"`, `"roce-host-device"`, `"roce-host-`, `"roce-net`, "roce-host-", "roce-net-").Replace(example(t, examples+"keep-addresses.yaml"))
	for name, test := range map[string]struct {
		output string
		a      Addressing
		want   string
	}{
		"the networks":                 {Networks, guide(), networks},
		"the networks with routers":    {Networks, router, example(t, examples+"networks.yaml")},
		"the ConfigMap":                {ConfigMap, guide(), configMap},
		"the JSON":                     {JSON, guide(), example(t, fakeGuideNode)},
		"the pod":                      {Pod, guide(), first},
		"all that kubectl can apply":   {All, guide(), configMap + "---\n" + networks + "---\n" + first},
		"addresses of the host's kept": {Networks, Addressing{IPAM: Keep}, kept},
	} {
		t.Run(name, func(t *testing.T) {
			if got := bare(printed(t, f, test.output, test.a)); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func TestTheCommentsSayWhatEachRailIsAndWhatIsLeftOut(t *testing.T) {
	got := printed(t, Merge([]*Node{describeFake(t)}), Pod, guide())
	const want = `# Node node-a, RDMA mode shared
#
# Rails in the order of their PCI addresses:
#   0: ens12np0 (mlx5_0, 0000:04:00.0), NUMA node 0, MTU 9000, GPU 0000:01:00.0
#   1: ens11np0 (mlx5_1, 0000:23:00.0), NUMA node 0, MTU 9000, GPU 0000:21:00.0
`
	const out = `#
# Left out:
#   ens1f0np0 (mlx5_8, 0000:f1:00.0): the host's default route goes through it
#   eno1 (0000:f2:00.0): it has no RDMA device
apiVersion: v1
`
	if !strings.HasPrefix(got, want) || !strings.Contains(got, out) {
		t.Errorf("got\n%s", got)
	}
}

func TestANICThatAPodHasIsARailAsBefore(t *testing.T) {
	free := describeFake(t)
	held := describeFake(t, func(f *node.FakeGuideNode, n *node.Node) {
		n.Must(f.Add(n.Tree))
		n.Attach(rdma.Exclusive, f.Rails[0], f.Rails[5])
		rails := slices.Clone(f.Rails)
		f.Rails = slices.DeleteFunc(f.Rails, func(h sysfs.HCA) bool { return h == rails[0] || h == rails[5] })
		f.GPUs = nil
	})
	for i := range free.Rails {
		free.Rails[i].AltNames, held.Rails[i].AltNames = nil, nil // the journal of this test has none
	}
	a, b := printed(t, Merge([]*Node{free}), All, guide()), printed(t, Merge([]*Node{held}), All, guide())
	if a != b {
		t.Errorf("with a pod:\n%s\nwithout:\n%s", b, a)
	}
}

func TestWhatIsNoRailIsLeftOutWithTheReason(t *testing.T) {
	virtual, infiniband := sysfs.VF(sysfs.MLX5(20), 1, 21), sysfs.MLX5(22)
	infiniband.LinkLayer = "InfiniBand"
	for name, test := range map[string]struct {
		add  []sysfs.HCA
		want string
	}{
		"a virtual function":   {[]sysfs.HCA{virtual}, "mlx5_21: it is a virtual function"},
		"a scalable function":  {[]sysfs.HCA{sysfs.SF(sysfs.MLX5(20), 4, 21)}, "mlx5_21: it is a virtual function"},
		"InfiniBand":           {[]sysfs.HCA{infiniband}, "mlx5_22: its link is infiniband"},
		"a management device":  {[]sysfs.HCA{sysfs.MLX5(20), sysfs.SMI(sysfs.MLX5(20), 30)}, "smi30: it is the management device"},
		"Soft-RoCE on no bus":  {[]sysfs.HCA{sysfs.RXE(30, sysfs.HCA{})}, "rxe30: it is on no bus"},
		"one that is not seen": {[]sysfs.HCA{sysfs.MLX5(20)}, "mlx5_20: its netdev cannot be seen"},
	} {
		t.Run(name, func(t *testing.T) {
			found := describeFake(t, func(_ *node.FakeGuideNode, n *node.Node) { n.Must(n.Add(test.add...)) })
			if !slices.ContainsFunc(found.LeftOut, func(l LeftOut) bool { return strings.HasPrefix(l.RDMA+": "+l.Why, test.want) }) || len(found.Rails) != 8 {
				t.Errorf("%d rails, left out %+v", len(found.Rails), found.LeftOut)
			}
		})
	}
}

func TestAddressingIsCheckedAndGivesWhatItSays(t *testing.T) {
	for name, test := range map[string]struct {
		a    Addressing
		want string // of network 3, or of the error
	}{
		"a range a rail":       {Addressing{IPAM: Whereabouts, Range: "10.1.N.0/24"}, `"ipam": { "type": "whereabouts", "range": "10.1.3.0/24", "gateway": "10.1.3.1" } }`},
		"IPv6":                 {Addressing{IPAM: Whereabouts, Range: "fd00:N::/64", Gateway: First}, `"range": "fd00:3::/64", "gateway": "fd00:3::1", "exclude": ["fd00:3::1/128"] }`},
		"one for all":          {Addressing{IPAM: Whereabouts, Range: "192.168.0.0/24"}, `"sourceRouting": true, "ipam": { "type": "whereabouts", "range": "192.168.0.0/24" } }`},
		"with a router":        {Addressing{IPAM: Whereabouts, Range: "192.168.0.0/24", Gateway: "192.168.0.254"}, `"gateway": "192.168.0.254", "exclude": ["192.168.0.254/32"] }`},
		"a router by pattern":  {Addressing{IPAM: Whereabouts, Range: GuideRange, Gateway: "172.31.N.254"}, `"gateway": "172.31.3.254", "exclude": ["172.31.3.254/32"] }`},
		"no router":            {Addressing{IPAM: Whereabouts, Range: GuideRange, Gateway: None}, `"ipam": { "type": "whereabouts", "range": "172.31.3.0/24" } }`},
		"host-local":           {Addressing{IPAM: HostLocal, Range: GuideRange, Gateway: First}, `"ipam": { "type": "host-local", "subnet": "172.31.3.0/24", "gateway": "172.31.3.1" } }`},
		"DHCP":                 {Addressing{IPAM: DHCP, Range: GuideRange}, `"device": "ens13np0", "ipam": { "type": "dhcp" } }`},
		"the MTU":              {Addressing{IPAM: DHCP, MTU: 4200}, `"device": "ens13np0", "mtu": 4200, "ipam"`},
		"another type":         {Addressing{IPAM: "static"}, `--ipam "static": use whereabouts, host-local, dhcp or keep`},
		"no subnet":            {Addressing{IPAM: Whereabouts, Range: "172.31.N.0"}, `--range 172.31.N.0: use a subnet such as 192.168.0.0/24`},
		"host bits":            {Addressing{IPAM: Whereabouts, Range: "172.31.0.N/24"}, "--range 172.31.0.N/24: 172.31.0.1/24 has host bits; do you mean 172.31.0.0/24?"},
		"a gateway outside":    {Addressing{IPAM: Whereabouts, Range: GuideRange, Gateway: "172.31.1.1"}, "--gateway 172.31.1.1: 172.31.1.1 is not in 172.31.2.0/24"},
		"a gateway of no kind": {Addressing{IPAM: Whereabouts, Range: GuideRange, Gateway: "last"}, "--gateway last: use first, none, or an address"},
		"the smallest MTU":     {Addressing{IPAM: DHCP, MTU: 68}, `"device": "ens13np0", "mtu": 68, "ipam"`},
		"the largest MTU":      {Addressing{IPAM: DHCP, MTU: 65535}, `"device": "ens13np0", "mtu": 65535, "ipam"`},
		"a larger one":         {Addressing{IPAM: DHCP, MTU: 65536}, `--mtu 65536: use a number from 68 to 65535`},
		"a small MTU":          {Addressing{IPAM: DHCP, MTU: 9}, "--mtu 9: use a number from 68 to 65535"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			err := test.a.Check()
			if err == nil {
				err = Merge([]*Node{describeFake(t)}).Print(&b, Networks, test.a)
			}
			var input *InputError
			if err != nil && (!errors.As(err, &input) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v is no input error of one line", err)
			}
			documents := append(strings.Split(b.String(), "---\n"), "", "", "")
			if got := strings.Join(strings.Fields(documents[2]), " "); err == nil && !strings.Contains(got, test.want) || err != nil && !strings.HasPrefix(err.Error(), test.want) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

// again is a node as Merge gets it, of JSON.
func again(t *testing.T, n *Node, change func(*Node)) *Node {
	t.Helper()
	file := filepath.Join(t.TempDir(), "node.json")
	if err := os.WriteFile(file, []byte(printed(t, Merge([]*Node{n}), JSON, guide())), 0o600); err != nil {
		t.Fatal(err)
	}
	nodes, err := ReadNodes([]string{file})
	if err != nil {
		t.Fatal(err)
	}
	change(nodes[0])
	return nodes[0]
}

func TestAMergeSaysWhereNodesDifferAndFindsWhatTheyHaveInCommon(t *testing.T) {
	a := describeFake(t)
	rename := func(r *Rail, name string, alternatives ...string) { r.Netdev, r.AltNames = name, alternatives }
	for name, test := range map[string]struct {
		change func(*Node)
		want   []string // the differences
		device string   // of the first network
	}{
		"nothing": {func(*Node) {}, nil, `"device": "ens12np0"`},
		"a rail less": {func(n *Node) { n.Rails = slices.Delete(n.Rails, 3, 4) },
			[]string{"rail 3: node-b lacks ens14np0 (mlx5_3, 0000:64:00.0), and numbers those after it lower"}, `"device": "ens12np0"`},
		"another name": {func(n *Node) { rename(&n.Rails[0], "eth7", "enp4s0np0") },
			[]string{"rail 0: ens12np0 on node-a; eth7 on node-b; the network has device enp4s0np0"}, `"device": "enp4s0np0"`},
		"names exchanged": {func(n *Node) { rename(&n.Rails[0], "ens11np0"); rename(&n.Rails[1], "ens12np0") },
			[]string{"rail 0: ens12np0 on node-a; ens11np0 on node-b; the network has pciBusID 0000:04:00.0",
				"rail 1: ens11np0 on node-a; ens12np0 on node-b; the network has pciBusID 0000:23:00.0"}, `"pciBusID": "0000:04:00.0"`},
		"another model": {func(n *Node) {
			n.Rails = n.Rails[:1]
			n.Rails[0].NIC = NIC{"eth0", "mlx5_0", "0000:99:00.0"}
			n.Rails[0].AltNames = nil
		}, []string{"rail 0: ens12np0 (mlx5_0, 0000:04:00.0) on node-a; eth0 (mlx5_0, 0000:99:00.0) on node-b; no name means it on all of them, so give the NICs one in common, as an alternative name",
			"rail 1: node-b lacks ens11np0 (mlx5_1, 0000:23:00.0), and numbers those after it lower"}, `"device": "ens12np0"`},
		"MTU":       {func(n *Node) { n.Rails[2].MTU, n.Rails[5].MTU = 1500, 1500 }, []string{"rails 2, 5: MTU 9000 on node-a; MTU 1500 on node-b"}, `"device": "ens12np0"`},
		"RDMA mode": {func(n *Node) { n.RDMAMode = rdma.Exclusive }, []string{"RDMA mode: shared on node-a; exclusive on node-b"}, `"device": "ens12np0"`},
		"GPUs":      {func(n *Node) { n.GPUs = n.GPUs[1:] }, []string{"number of GPUs: 8 on node-a; 7 on node-b"}, `"device": "ens12np0"`},
		"a link":    {func(n *Node) { n.Rails[7].NoLink = true }, []string{"rail 7: ens18np0 (mlx5_7, 0000:e4:00.0) on node-b has no link"}, `"device": "ens12np0"`},
	} {
		t.Run(name, func(t *testing.T) {
			b := again(t, a, func(n *Node) { n.Name = "node-b"; test.change(n) })
			f := Merge([]*Node{a, b})
			if got := f.Differences[:min(len(test.want), len(f.Differences))]; !slices.Equal(got, test.want) || name != "another model" && len(f.Differences) != len(test.want) {
				t.Errorf("got %q", f.Differences)
			}
			if got := printed(t, f, Networks, guide()); strings.Count(got, "ens1f0np0 (mlx5_8, 0000:f1:00.0) on node-a, node-b: the host's") != 1 {
				t.Errorf("not left out in\n%s", got)
			}
			for _, d := range f.Differences {
				if got := printed(t, f, Networks, guide()); !strings.Contains(got, "#\n# Look at:\n") || !strings.Contains(got, "\n#   "+d+"\n") {
					t.Errorf("no %q in\n%s", d, got)
				}
			}
			if got := printed(t, f, Networks, guide()); !strings.Contains(got, test.device) || strings.Count(got, "\nkind:") != 8 {
				t.Errorf("no %s in\n%s", test.device, got)
			}
		})
	}
}

func TestTheConfigMapOfNodesWithOtherNamesSelectsAll(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) { n.Name, n.Rails[1].Netdev = "node-b", "eth1" })
	_, text, _ := strings.Cut(printed(t, Merge([]*Node{a, b}), ConfigMap, guide()), "config.json: |\n")
	file := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := config.Load(file)
	if err != nil || len(c.Faults) > 0 {
		t.Fatal(err, c)
	}
	want := []string{"ens12np0", "ens11np0", "eth1", "ens13np0", "ens14np0", "ens16np0", "ens15np0", "ens17np0", "ens18np0"}
	if r := c.Resources[0]; !slices.Equal(r.Selectors.IfNames, want) || r.Units != 8 {
		t.Errorf("%+v", r)
	}
}

func TestWhatIsNoJSONOfANodeIsRefusedWithItsFile(t *testing.T) {
	one, err := json.Marshal(describeFake(t))
	if err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"":                          "it is empty",
		"{":                         "it is not what `discover -o json` printed: unexpected EOF",
		`{"nodes": []}`:             `it is not what ` + "`discover -o json`" + ` printed: json: unknown field "nodes"`,
		`{"version":9,"node":"a"}`:  `version 9 of node "a": this program reads version 1`,
		string(one) + string(one):   "node node-a is there twice",
		`{"version": 1, "node":""}`: `version 1 of node ""`,
	} {
		file := filepath.Join(t.TempDir(), "a.json")
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := ReadNodes([]string{file})
		var input *InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: got %v, want %s", content, err, want)
		}
	}
}

func TestANodeWithoutRailsHasNothingToPrintButJSON(t *testing.T) {
	none := &Node{Version: nodeVersion, Name: "a", LeftOut: []LeftOut{{NIC{Netdev: "eno1"}, "it has no RDMA device"}}}
	err := Merge([]*Node{none}).Print(&bytes.Buffer{}, All, guide())
	if err == nil || !strings.Contains(err.Error(), "eno1: it has no RDMA device") {
		t.Errorf("got %v", err)
	}
	if got := printed(t, Merge([]*Node{none}), JSON, guide()); !strings.Contains(got, `"netdev": "eno1"`) {
		t.Errorf("got %s", got)
	}
}

func TestANICThatTheHostNeedsIsLeftOut(t *testing.T) {
	host := node.NewHost(t)
	n, fake := node.New(t), node.NewFakeGuideNode()
	n.Must(fake.Add(n.Tree))
	for _, h := range append([]sysfs.HCA{fake.Gateway}, fake.Rails...) {
		node.AddNIC(t, host, h.Netdev)
	}
	for _, command := range []string{
		"address add 10.9.0.2/24 dev ens1f0np0", "link set ens1f0np0 up", "route add default via 10.9.0.1",
		"address add 10.9.4.2/24 dev ens14np0",
	} {
		if out, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
			t.Fatalf("ip %s: %v: %s", command, err, out)
		}
	}
	server, err := (&net.ListenConfig{}).Listen(n.Ctx, "tcp", "10.9.4.2:4420")
	n.Must(err)
	defer server.Close()
	found, err := Look(n.Ctx, Place{Name: "node-a", Node: n.RDMA(), StateDir: n.State(), Proc: filepath.Join(n.Dir, "proc"), Log: n.Log()})
	n.Must(err)
	why := map[string]string{}
	for _, l := range found.LeftOut {
		why[l.Netdev] = l.Why
	}
	want := map[string]string{
		"ens1f0np0": "the host's default route goes through it",
		"ens14np0":  "the host uses its address 10.9.4.2: a program listens on it, port 4420",
		"eno1":      "it has no RDMA device",
	}
	if !maps.Equal(why, want) || len(found.Rails) != 7 || found.Rails[0].MTU != 1500 || found.Blind != "" {
		t.Errorf("left out %q, rails %+v", why, found.Rails)
	}
}
