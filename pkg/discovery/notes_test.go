package discovery

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestWhatIsOddAboutOneNodeIsNotedToo(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Node)
		want   []string
	}{
		"nothing":          {func(*Node) {}, nil},
		"rails differ":     {func(n *Node) { n.Rails[3].MTU = 1500 }, []string{"not all rails have the same MTU"}},
		"no link":          {func(n *Node) { n.Rails[3].NoLink = true }, []string{"rail 3: ens14np0 (mlx5_3, 0000:64:00.0) on node-a has no link"}},
		"no links at all":  {func(n *Node) { n.Rails[3].NoLink, n.Rails[5].NoLink = true, true }, []string{"rail 3: ens14np0 (mlx5_3, 0000:64:00.0) on node-a has no link", "rail 5: ens15np0 (mlx5_5, 0000:a4:00.0) on node-a has no link"}},
		"links not seen":   {func(n *Node) { n.Blind = "no netlink" }, []string{"node-a: NICs that the host needs are not left out, because its links cannot be seen: no netlink"}},
		"an unknown mode":  {func(n *Node) { n.RDMAMode = "" }, nil},
		"a node's own GPU": {func(n *Node) { n.GPUs = n.GPUs[:3] }, nil},
	} {
		n := again(t, describeFake(t), tt.change)
		if got := Merge([]*Node{n}).Differences; !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestANodeThatLacksARailSaysNothingOfIt(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) { n.Name, n.Rails[3].MTU = "node-b", 1500 })
	c := again(t, a, func(n *Node) { n.Name, n.Rails = "node-c", slices.Delete(n.Rails, 3, 4) })
	want := []string{"rail 3: node-c lacks ens14np0 (mlx5_3, 0000:64:00.0), and numbers those after it lower", "rail 3: MTU 9000 on node-a; MTU 1500 on node-b"}
	if got := Merge([]*Node{a, b, c}).Differences; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
}

// Of as many as each node has; of two kinds with one number the first by name.
func TestAPodAsksForTheGPUsThatTheFirstNodeHasMostOf(t *testing.T) {
	of := func(resources ...string) *Node {
		n := &Node{Name: "n"}
		for _, r := range resources {
			n.GPUs = append(n.GPUs, GPU{Resource: r})
		}
		return n
	}
	for _, tt := range []struct {
		nodes    []*Node
		resource string
		number   int
	}{
		{[]*Node{of()}, "", 0},
		{[]*Node{of("b", "a")}, "a", 1},
		{[]*Node{of("a", "b", "b")}, "b", 2},
		{[]*Node{of("a", "b", "b", "b"), of("b", "b"), of("b", "b", "b", "b")}, "b", 2},
		{[]*Node{of("a"), of("b")}, "a", 0},
	} {
		if resource, number := (&Fleet{Nodes: tt.nodes}).gpus(); resource != tt.resource || number != tt.number {
			t.Errorf("%d %s, want %d %s", number, resource, tt.number, tt.resource)
		}
	}
}

func TestTheModeIsTheOneThatAllNodesHave(t *testing.T) {
	of := func(modes ...rdma.Mode) *Fleet {
		f := &Fleet{}
		for _, m := range modes {
			f.Nodes = append(f.Nodes, &Node{Name: "n" + string(m), RDMAMode: m})
		}
		return f
	}
	for _, tt := range []struct {
		f    *Fleet
		want rdma.Mode
	}{{of(rdma.Exclusive), rdma.Exclusive}, {of(rdma.Shared, rdma.Shared), rdma.Shared}, {of(rdma.Shared, rdma.Exclusive), ""}, {of(rdma.Exclusive, ""), ""}} {
		if got := tt.f.mode(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
	exclusive := again(t, describeFake(t), func(n *Node) { n.RDMAMode = rdma.Exclusive })
	if text := printed(t, Merge([]*Node{exclusive}), Networks, guide()); strings.Count(text, `"rdmaMode": "exclusive"`) != 8 {
		t.Errorf("networks of an exclusive node:\n%s", text)
	}
	if text := printed(t, Merge([]*Node{describeFake(t)}), Networks, guide()); strings.Contains(text, "rdmaMode") {
		t.Errorf("networks of a shared node:\n%s", text)
	}
}

func TestOnlyWhatCanBePrintedIsTaken(t *testing.T) {
	for _, output := range []string{All, ConfigMap, Networks, Values, Pod, JSON} {
		if err := CheckOutput(output); err != nil {
			t.Errorf("%s: %v", output, err)
		}
	}
	for _, output := range []string{"", "yaml", "Pod"} {
		var input *InputError
		if err := CheckOutput(output); !errors.As(err, &input) || !strings.Contains(err.Error(), "use configmap, networks, values, pod or json") {
			t.Errorf("%q: %v", output, err)
		}
	}
}

func TestNodesAreReadFromSeveralFilesAndSeveralFromOne(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) { n.Name = "node-b" })
	c := again(t, a, func(n *Node) { n.Name = "node-c" })
	dir := t.TempDir()
	write := func(name string, nodes ...*Node) string {
		file := filepath.Join(dir, name)
		text := ""
		for _, n := range nodes {
			text += printed(t, Merge([]*Node{n}), JSON, guide())
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	two, one := write("two", a, b), write("one", c)
	nodes, err := ReadNodes([]string{two, one})
	names := ""
	for _, n := range nodes {
		names += n.Name + " "
	}
	if names != "node-a node-b node-c " || err != nil {
		t.Errorf("%s, %v", names, err)
	}
	for want, files := range map[string][]string{
		"usage: discover merge FILE": nil, dir + "/none": {one, dir + "/none"}, "node node-b is there twice": {two, write("again", b)},
	} {
		var input *InputError
		if nodes, err := ReadNodes(files); !errors.As(err, &input) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", files, nodes, err)
		}
	}
	// Of several the JSON has their differences, too.
	if got := printed(t, Merge(nodes), JSON, guide()); !strings.Contains(got, `"differences": []`) || strings.Count(got, `"node":`) != 3 {
		t.Errorf("%s", got)
	}
}

func TestANetdevThatTwoRailsAreCalledByIsSelectedOnce(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) {
		n.Name, n.Rails[0].Netdev, n.Rails[1].Netdev = "node-b", n.Rails[1].Netdev, n.Rails[0].Netdev
	})
	if names := Merge([]*Node{a, b}).netdevs(); len(names) != 8 {
		t.Errorf("%q", names)
	}
}

// Whoever named a NIC may have put anything into the name.
func TestANameWithAQuoteStaysInItsManifest(t *testing.T) {
	n := again(t, describeFake(t), func(n *Node) { n.Rails[0].Netdev = "rail'0" })
	first, _, _ := strings.Cut(printed(t, Merge([]*Node{n}), Networks, guide()), "---\n")
	var manifest struct{ Spec struct{ Config string } }
	if err := yaml.Unmarshal([]byte(first), &manifest); err != nil || !strings.Contains(manifest.Spec.Config, `"device": "rail'0"`) {
		t.Errorf("%v in\n%s", err, first)
	}
}

func TestANICIsCalledByAllThatIsKnownOfIt(t *testing.T) {
	for want, n := range map[string]NIC{
		"eth0 (mlx5_0, 0000:08:00.0)": {"eth0", "mlx5_0", "0000:08:00.0"}, "eth0 (mlx5_0)": {"eth0", "mlx5_0", ""},
		"eth0": {"eth0", "", ""}, "mlx5_0, 0000:08:00.0": {"", "mlx5_0", "0000:08:00.0"}, "": {},
	} {
		if got := n.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
