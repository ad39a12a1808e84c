package dra

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/chain"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/cni"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/snapshot"
)

// labRails is how many the lab has: NIC i is wired to NIC i+labRails.
const labRails = 8

// A labNode is the lab VM with the driver, and with the CNI plugin at the end of
// a network's list, where the chain's installer puts it.
type labNode struct {
	*testNode
	cni     *libcni.CNIConfig
	network *libcni.NetworkConfigList
}

func newLabNode(t *testing.T) *labNode {
	t.Helper()
	if os.Getenv("ROCE_LAB_MODE") == "" {
		t.Skip("needs the lab VM's RDMA devices: run it with `make test-lab`")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	t.Cleanup(cancel)
	n := &labNode{testNode: &testNode{Node: &node.Node{T: t, Ctx: ctx, Logs: &node.Logs{}}, api: newAPI(t)}}
	var err error
	n.Dir, err = os.MkdirTemp("", "dra") // t.TempDir is too long for a socket's path
	n.Must(err)
	t.Cleanup(func() { os.RemoveAll(n.Dir) })
	n.Journal, err = attachment.Open(attachment.DefaultDir, "/proc")
	n.Must(err)
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	t.Cleanup(host.Close)
	n.links = host.LinkReader().Links
	n.Write("config.json", `{"configList": [{"resourceName": "hca_gpu", "healthPolicy": "link", "selectors": {"ifNames": ["ens*np0"]}}]}`)
	n.Must(os.MkdirAll(filepath.Join(n.Dir, "plugins_registry"), 0o750))

	const list = "net.d/10-pods.conflist"
	n.Write(list, `{"cniVersion": "1.1.0", "name": "pods", "plugins": [{"type": "loopback"}]}`)
	plugins := filepath.SplitList(os.Getenv("ROCE_CNI_PATH"))
	chained := chain.Chain{Dir: filepath.Join(n.Dir, "net.d"), Plugins: plugins[0], Log: n.Log()}
	_, err = chained.Put()
	n.Must(err)
	n.network, err = libcni.ConfListFromFile(filepath.Join(n.Dir, list))
	n.Must(err)
	n.cni = libcni.NewCNIConfigWithCacheDir(plugins, filepath.Join(n.Dir, "cache"), nil)
	metrics := NewMetrics("lab", attachment.DefaultDir)
	n.options = Options{
		NodeName: "node1", Client: n.api.client(metrics.Count), Metrics: metrics, ConfigFile: filepath.Join(n.Dir, "config.json"), KubeletDir: n.Dir,
		StateDir: attachment.DefaultDir, CDIDir: filepath.Join(n.Dir, "cdi"), Proc: "/proc", Node: rdma.Host(), Log: n.Log(),
		Hook:    filepath.Join(plugins[0], chain.Plugin),
		Chained: func() error { return chain.Check(chained.Dir) }, CheckNetwork: cni.CheckNetwork,
	}
	return n
}

// snapshot is what can be set on the host.
func (n *labNode) snapshot() snapshot.Snapshot {
	n.Helper()
	s, err := snapshot.Take(func(string) bool { return false })
	n.Must(err)
	return s
}

// A labPod is a network namespace, and a claim of some rails for it.
type labPod struct {
	*labNode
	name  string
	claim *resourceapi.ResourceClaim
	cdi   []string
	ends  []railEnd
}

// A railEnd is an interface of a pod.
type railEnd struct {
	name, device string
	address      netip.Addr
}

// pod makes a pod, and a claim that the scheduler has given as many NICs as there
// are subnets, the first one with a rail's number: a request for each, and with
// it a subnet.
func (n *labNode) pod(name string, first int, subnets []string) *labPod {
	n.Helper()
	n.command("ip", "netns", "add", name)
	p := &labPod{labNode: n, name: name}
	byRail := map[string]string{}
	for device, of := range n.published() {
		byRail[text(of)["rail"]] = device
	}
	var devices []string
	for i := range subnets {
		devices = append(devices, byRail[fmt.Sprint(first+i)])
	}
	p.claim = n.claim("c-"+name, name, devices) // UIDs, which are hexadecimal
	allocated := &p.claim.Status.Allocation.Devices
	for i, subnet := range subnets {
		request := fmt.Sprintf("rail%d", i)
		allocated.Results[i].Request = request
		parameters := fmt.Sprintf(`{"ipam": {"type": "host-local", "dataDir": %q, "subnet": %q}}`, filepath.Join(n.Dir, "ipam"), subnet)
		allocated.Config = append(allocated.Config, resourceapi.DeviceAllocationConfiguration{
			Source: resourceapi.AllocationConfigSourceClaim, Requests: []string{request},
			DeviceConfiguration: resourceapi.DeviceConfiguration{Opaque: &resourceapi.OpaqueDeviceConfiguration{
				Driver: DriverName, Parameters: runtime.RawExtension{Raw: []byte(parameters)},
			}},
		})
	}
	n.api.add(p.claim)
	return p
}

func (n *labNode) command(words ...string) string {
	n.Helper()
	out, err := exec.CommandContext(n.Ctx, words[0], words[1:]...).CombinedOutput()
	if err != nil {
		n.Fatalf("%s: %v\n%s", strings.Join(words, " "), err, out)
	}
	return string(out)
}

func (p *labPod) in(words ...string) []string {
	return append([]string{"ip", "netns", "exec", p.name}, words...)
}

func (p *labPod) sandbox() string { return "sandbox-" + p.name }

func (p *labPod) runtimeConf() *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: p.sandbox(), NetNS: "/run/netns/" + p.name, IfName: "eth0", Args: [][2]string{
		{"IgnoreUnknown", "1"}, {"K8S_POD_NAMESPACE", "training"}, {"K8S_POD_NAME", "pod-" + p.name}, {"K8S_POD_UID", p.name}}}
}

// hook runs what the claim's CDI spec has the runtime run before a container.
func (p *labPod) hook() error {
	p.Helper()
	p.Write("bundle-"+p.name+"/config.json", `{"linux": {"namespaces": [{"type": "network"}]}}`)
	_, rest := p.spec(p.cdi)
	words := strings.Fields(rest[len(rest)-1])
	if len(words) < 2 || words[0] != "createRuntime" {
		p.Fatalf("the spec has %q", rest)
	}
	cmd := exec.CommandContext(p.Ctx, words[1], words[2:]...)
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"id": "c", "bundle": %q, "annotations": {"io.kubernetes.cri.sandbox-id": %q}}`,
		filepath.Join(p.Dir, "bundle-"+p.name), p.sandbox()))
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// begin does what kubelet and runtime do for a pod up to its first container.
func (p *labPod) begin() {
	p.Helper()
	var refused string
	if p.cdi, refused = p.prepare(p.claim); refused != "" {
		p.Fatal(refused)
	}
	if err := p.hook(); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("has 0 of the %d NICs", len(p.cdi))) {
		p.Errorf("a container may start without NICs: %v", err)
	}
	answer, err := p.cni.AddNetworkList(p.Ctx, p.network, p.runtimeConf())
	p.Must(err)
	result, err := current.NewResultFromResult(answer)
	p.Must(err)
	if err := p.hook(); err != nil {
		p.Errorf("no container may start: %v", err)
	}
	devices := map[string]string{} // by netdev
	var links []struct{ Ifname, Netdev string }
	p.Must(json.Unmarshal([]byte(p.command(p.in("rdma", "-j", "link")...)), &links))
	for _, l := range links {
		devices[l.Netdev], _, _ = strings.Cut(l.Ifname, "/")
	}
	for _, ip := range result.IPs {
		name := result.Interfaces[*ip.Interface].Name
		if strings.HasPrefix(name, "rail") {
			address, _ := netip.AddrFromSlice(ip.Address.IP.To4())
			p.ends = append(p.ends, railEnd{name, devices[name], address})
		}
	}
	if len(p.ends) != len(p.cdi) {
		p.Fatalf("the pod has %v, and a claim of %d NICs", p.ends, len(p.cdi))
	}
	p.Until("its containers get the character devices of its RDMA devices", func() bool {
		var want []string
		for _, end := range p.ends {
			out := p.command(p.in("bash", "-c", "grep -lx "+end.device+" /sys/class/infiniband_verbs/uverbs*/ibdev")...)
			want = append(want, filepath.Base(filepath.Dir(strings.TrimSpace(out))))
		}
		got, _ := p.spec(p.cdi)
		got = slices.DeleteFunc(got, func(name string) bool { return name == "rdma_cm" })
		return slices.Equal(slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)))
	})
}

// lat is ib_read_lat on an end of a rail; the lab's Soft-RoCE has the first IPv4
// address behind the link-local GID. An emulated processor acknowledges late: -u 20
// waits 4 s for it.
func (p *labPod) lat(rail int, more ...string) *exec.Cmd {
	line := fmt.Sprintf("timeout 120 ib_read_lat -d %s -x 1 -n 20 -u 20 -p %d", p.ends[rail].device, 18515+rail)
	words := p.in(append(strings.Fields(line), more...)...)
	return exec.CommandContext(p.Ctx, words[0], words[1:]...)
}

// hasGID tells whether the GID of an end's address is there, which comes a moment
// after the address.
func (p *labPod) hasGID(rail int) bool {
	end := p.ends[rail]
	four := end.address.As4()
	suffix := hex.EncodeToString(four[:])
	gid := p.command(p.in("cat", "/sys/class/infiniband/"+end.device+"/ports/1/gids/1")...)
	return strings.HasSuffix(strings.ReplaceAll(strings.TrimSpace(gid), ":", ""), "ffff"+suffix)
}

// end does what runtime and kubelet do for a pod that ends.
func (p *labPod) end() {
	p.Helper()
	if refused := p.unprepare(p.claim); !strings.Contains(refused, "is still in pod") {
		p.Errorf("the claim ends before the pod's network: %q", refused)
	}
	p.Must(p.cni.DelNetworkList(p.Ctx, p.network, p.runtimeConf()))
	if refused := p.unprepare(p.claim); refused != "" {
		p.Error(refused)
	}
	p.command("ip", "netns", "delete", p.name)
}

// There is no Kubernetes in the lab: who allots the NICs and calls the driver, and
// who calls the CNI plugin and the hook, is this test. What it goes by, the driver
// and the chain's installer have written.
func TestInTheLabTwoPodsWithClaimsTalkOnEveryRailWithoutKubernetes(t *testing.T) {
	n := newLabNode(t)
	before := n.snapshot()
	n.start()
	n.Until("all NICs are offered", func() bool { return len(n.published()) == 2*labRails })
	var subnets []string
	for i := range labRails {
		subnets = append(subnets, fmt.Sprintf("172.31.%d.0/24", i+1))
	}
	if os.Getenv("ROCE_LAB_SAMPLE") != "" {
		subnets = subnets[:2]
	}
	one, two := n.pod("a1", 0, subnets), n.pod("b2", labRails, subnets)
	one.begin()
	two.begin()
	for rail := range subnets {
		n.Until("both ends have a GID", func() bool { return one.hasGID(rail) && two.hasGID(rail) })
		server := one.lat(rail)
		n.Must(server.Start())
		var out []byte
		err := errors.New("no try")
		for range 60 { // until the server listens
			if out, err = two.lat(rail, one.ends[rail].address.String()).CombinedOutput(); err == nil {
				err = server.Wait()
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
		if err != nil {
			_ = server.Process.Kill()
			t.Errorf("%s to %s: %v\n%s", two.ends[rail].name, one.ends[rail].name, err, out)
			continue
		}
		t.Logf("%s to %s, %s to %s:\n%s", two.ends[rail].name, one.ends[rail].name, two.ends[rail].device, one.ends[rail].device, out)
	}
	one.end()
	two.end()
	n.Until("the host is as before", func() bool { return before.Difference(n.snapshot()) == "" })
	claims, _, err := claim.List(attachment.DefaultDir)
	n.Must(err)
	records, _, err := n.Journal.List()
	n.Must(err)
	specs, err := os.ReadDir(n.options.CDIDir)
	n.Must(err)
	if len(claims)+len(records)+len(specs) > 0 {
		t.Errorf("left over: claims %v, records %v, specs %v", claims, records, specs)
	}
}
