// Command node plays two nodes in the lab's virtual machine for a Prometheus
// outside of it: on each a kubelet's stand-in and the real device plugin, pods
// that get NICs from the real CNI plugin, and traffic between them. It returns
// when the story is over.
//
// What happens: two pods that train, with four rails each, and two that infer,
// with two. A port goes down and comes up again. A pod's namespace ends without
// a DEL. Then all end.
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

const resource = "rdma/hca_gpu"

// A node has eight of the machine's NICs.
type node struct {
	name    string
	number  int
	nics    []string
	kubelet *kubelet.Kubelet
	plugin  *exec.Cmd

	podresources.UnimplementedPodResourcesListerServer
	mu   sync.Mutex
	pods []*pod
}

// A pod has the units with these IDs, of which each is a NIC.
type pod struct {
	node  *node
	name  string
	units []string
}

func main() {
	address := flag.String("address", "", "the machine's `address` for Prometheus, with the length of its prefix")
	tls := flag.String("tls", "", "a `folder` with tls.crt, tls.key and ca.crt")
	length := flag.Duration("for", 3*time.Minute, "how long it all takes")
	flag.Parse()
	if err := tell(*address, *tls, *length); err != nil {
		log.Fatal(err)
	}
}

func tell(address, tls string, length time.Duration) error {
	if err := sh("ip address add %s dev mgmt0 && ip link set mgmt0 up && mkdir -p /opt/cni/bin && cp /host/roce-host-device /opt/cni/bin/", address); err != nil {
		return err
	}
	nodes := []*node{
		{name: "node-1", number: 1, nics: strings.Fields("ens12np0 ens11np0 ens13np0 ens14np0 ens16np0 ens15np0 ens17np0 ens18np0")},
		{name: "node-2", number: 2, nics: strings.Fields("ens22np0 ens21np0 ens23np0 ens24np0 ens26np0 ens25np0 ens27np0 ens28np0")},
	}
	ip, _, _ := strings.Cut(address, "/")
	for _, n := range nodes {
		if err := n.start(fmt.Sprintf("%s:%d", ip, 9816+n.number), tls); err != nil {
			return err
		}
		defer n.stop()
	}
	step := length / 12
	time.Sleep(step)

	var training, inference [2]*pod
	for i, n := range nodes {
		var err error
		if training[i], err = n.add("train-"+fmt.Sprint(i), 4); err != nil {
			return err
		}
		if inference[i], err = n.add("infer-"+fmt.Sprint(i), 2); err != nil {
			return err
		}
	}
	ctx, end := context.WithTimeout(context.Background(), 8*step)
	defer end()
	var traffic sync.WaitGroup
	traffic.Go(func() { talk(ctx, training, 4*step, 65536) })
	time.Sleep(2 * step)
	traffic.Go(func() { talk(ctx, inference, 3*step, 4096) })
	free := nodes[0].free()
	if err := sh("ip link set %s down", free); err != nil {
		return err
	}
	time.Sleep(2 * step)
	if err := sh("ip link set %s up", free); err != nil {
		return err
	}
	traffic.Wait()

	// The runtime loses a pod: its processes and its namespace are gone, and
	// nobody calls the CNI plugin.
	if err := sh("ip netns delete %s", inference[1].name); err != nil {
		return err
	}
	inference[1].node.release(inference[1])
	time.Sleep(step)
	for _, p := range []*pod{training[0], training[1], inference[0], inference[1]} {
		if err := p.del(); err != nil {
			return err
		}
	}
	time.Sleep(step)
	return nil
}

// sh runs a line of shell.
func sh(format string, values ...any) error {
	line := fmt.Sprintf(format, values...)
	out, err := exec.Command("bash", "-c", line).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", line, err, out)
	}
	return nil
}

func (n *node) start(address, tls string) error {
	dir := "/" + n.name
	for i, nic := range n.nics {
		if err := sh("ip address add 172.31.%d.%d/24 dev %s", i+1, n.number, nic); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(dir+"/pod-resources", 0o755); err != nil {
		return err
	}
	config := fmt.Sprintf(`{"periodicUpdateInterval": 5, "configList": [{"resourceName": "hca_gpu", "mode": "perDevice", "healthPolicy": "link", "selectors": {"ifNames": ["%s"]}}]}`,
		strings.Join(n.nics, `", "`))
	if err := os.WriteFile(dir+"/config.json", []byte(config), 0o600); err != nil {
		return err
	}
	var err error
	if n.kubelet, err = kubelet.Start(dir+"/device-plugins", slog.New(slog.DiscardHandler)); err != nil {
		return err
	}
	socket, err := net.Listen("unix", dir+"/pod-resources/kubelet.sock")
	if err != nil {
		return err
	}
	server := grpc.NewServer()
	podresources.RegisterPodResourcesListerServer(server, n)
	go func() { _ = server.Serve(socket) }()
	n.plugin = exec.Command("/host/rdma-device-plugin", "--config-file="+dir+"/config.json", "--kubelet-dir="+dir, "--metrics-address="+address,
		"--metrics-tls-dir="+tls, "--metrics-client-ca="+filepath.Join(tls, "ca.crt"))
	n.plugin.Stderr = os.Stderr
	if err := n.plugin.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return n.kubelet.Wait(ctx, resource, len(n.nics))
}

func (n *node) stop() {
	_ = n.plugin.Process.Kill() // the machine ends
	_ = n.plugin.Wait()
	n.kubelet.Close()
}

// free is a NIC that no pod has.
func (n *node) free() string {
	i := slices.IndexFunc(n.nics, func(nic string) bool { _, err := net.InterfaceByName(nic); return err == nil })
	return n.nics[max(i, 0)]
}

// List is the kubelet's: who has which units.
func (n *node) List(context.Context, *podresources.ListPodResourcesRequest) (*podresources.ListPodResourcesResponse, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	answer := &podresources.ListPodResourcesResponse{}
	for _, p := range n.pods {
		answer.PodResources = append(answer.PodResources, &podresources.PodResources{Namespace: "default", Name: p.name, Containers: []*podresources.ContainerResources{
			{Name: "main", Devices: []*podresources.ContainerDevices{{ResourceName: resource, DeviceIds: p.units}}},
		}})
	}
	return answer, nil
}

// add makes a pod with so many NICs.
func (n *node) add(name string, units int) (*pod, error) {
	_, ids, err := n.kubelet.Allocate(resource, units)
	if err != nil {
		return nil, err
	}
	p := &pod{n, name, ids}
	n.mu.Lock()
	n.pods = append(n.pods, p)
	n.mu.Unlock()
	if err := sh("ip netns add %[1]s && ip -n %[1]s link set lo up", name); err != nil {
		return nil, err
	}
	return p, p.cni("ADD")
}

// cni calls the CNI plugin for each of the NICs, as Multus does.
func (p *pod) cni(command string) error {
	for i, unit := range p.units {
		c := exec.Command("/opt/cni/bin/roce-host-device")
		c.Env = []string{"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + p.name, fmt.Sprintf("CNI_IFNAME=net%d", i+1), "CNI_NETNS=/run/netns/" + p.name,
			"CNI_PATH=/opt/cni/bin", "CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + p.name, "PATH=" + os.Getenv("PATH")}
		c.Stdin = strings.NewReader(fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "rails", "type": "roce-host-device", "deviceID": %q, "keepAddresses": true}`, unit))
		c.Stderr = os.Stderr
		if out, err := c.Output(); err != nil {
			return fmt.Errorf("%s of %s for %s: %w: %s", command, unit, p.name, err, out)
		}
	}
	return nil
}

func (p *pod) del() error {
	if err := p.cni("DEL"); err != nil {
		return err
	}
	p.node.release(p)
	return nil
}

// release tells the kubelet that the pod is over.
func (n *node) release(p *pod) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for i, q := range n.pods {
		if q == p {
			n.kubelet.Free(resource, p.units...)
			n.pods = append(n.pods[:i], n.pods[i+1:]...)
			return
		}
	}
}

// talk has two pods exchange messages on all rails that they share, a little every
// five seconds: all of the machine's processors are emulated, and a benchmark
// would leave none for the device plugins.
func talk(ctx context.Context, pods [2]*pod, length time.Duration, size int) {
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	var rails sync.WaitGroup
	for rail := 1; rail <= 8; rail++ {
		rails.Go(func() {
			one, two := end(pods[0], rail, 1), end(pods[1], rail, 2)
			if one == "" || two == "" {
				return
			}
			common := fmt.Sprintf("--events --iters=40 --size=%d --port=%d", size, 18600+rail)
			server := exec.CommandContext(ctx, "bash", "-c", fmt.Sprintf("while :; do ip netns exec %s ibv_rc_pingpong %s %s; done", pods[0].name, one, common))
			server.WaitDelay = time.Second
			if err := server.Start(); err != nil {
				log.Print(err)
				return
			}
			// The server may not listen yet.
			client := fmt.Sprintf("while :; do ip netns exec %s ibv_rc_pingpong %s %s 172.31.%d.1 || :; sleep 5; done", pods[1].name, two, common, rail)
			calls := exec.CommandContext(ctx, "bash", "-c", client)
			calls.WaitDelay = time.Second
			if err := calls.Run(); ctx.Err() == nil {
				log.Printf("rail %d: %v", rail, err)
			}
			_ = server.Wait()
			// What a loop has just started outlives it.
			_ = sh("ip netns pids %s | xargs -r kill; ip netns pids %s | xargs -r kill", pods[0].name, pods[1].name)
		})
	}
	rails.Wait()
}

// end is a pod's end of a rail as options of ibv_rc_pingpong; "" if it has none.
func end(p *pod, rail, number int) string {
	// In shared mode every pod sees all devices; the address says which is its own.
	out, err := exec.Command("ip", "netns", "exec", p.name, "bash", "-c", fmt.Sprintf(`
		[ -n "$(ip -o -4 address show to 172.31.%[1]d.%[2]d)" ] || exit 1
		for device in /sys/class/infiniband/*; do
			for i in {0..31}; do
				read -r gid <"$device/ports/1/gids/$i" || break
				[ "$gid" != 0000:0000:0000:0000:0000:ffff:ac1f:%02[1]x%02[2]x ] || { echo "-d ${device##*/} -g $i"; exit; }
			done 2>/dev/null
		done
		exit 1`, rail, number)).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
