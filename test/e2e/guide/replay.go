package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// The processor is emulated, and the machine below it may have other work.
const (
	patience = 20 * time.Minute // for one step
	life     = time.Hour        // of a machine
)

// A site is the cluster of the replay.
type site struct {
	*record
	options
	*cluster.ControlPlane
	nodes  []*cluster.Node
	before []string // each node's NICs and RDMA devices before anything moved
	pods   []*pod
}

// A story is what is done on a site, in order.
type story struct {
	title, about string
	chapters     []chapter
}

type chapter struct {
	title, text string
	tell        func(context.Context) error
}

// guide is the operator's guide, and what it does not show.
func (s *site) guide() story {
	return story{
		title: "The operator's guide, replayed in " + s.mode + " mode",
		about: "Written by `make guide`; see [guide-replay.md](guide-replay.md) for what is what.",
		chapters: []chapter{
			{"Two nodes", "", s.startNodes},
			{"1. The device plugin", "The manifests as they are; the ConfigMap has the guide's content.", s.deviceplugin},
			{"2. Multus, Whereabouts and the networks", "Multus and Whereabouts are on the nodes; what their authors would have users apply is applied.", s.networks},
			{"3. The pods", "", s.startPods},
			{"In the pods", "", s.lookIntoPods},
			{"ib_read_lat on every rail", "", s.traffic},
			{"What the guide does not show: the kubelet of a node restarts", "", s.restartKubelet},
			{"… a cable is pulled", "", s.pullCable},
			{"… the pods are deleted", "", s.deletePods},
		},
	}
}

// replay tells a whole story, as far as it gets.
func replay(ctx context.Context, r *record, o options) {
	s := &site{record: r, options: o, pods: []*pod{{name: "gpu-rdma-pod-1"}, {name: "gpu-rdma-pod-2"}}}
	defer s.end()
	told := s.guide()
	switch o.story {
	case "day":
		told = s.day()
	case "dra":
		told = s.dra()
	}
	fmt.Fprintf(&r.text, "# %s\n\n%s\n", told.title, told.about)
	for _, chapter := range told.chapters {
		s.chapter(chapter.title, chapter.text)
		ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("waited for %v", patience))
		err := chapter.tell(ctx)
		cancel()
		if err != nil {
			s.check("to go on", err)
			return
		}
	}
}

// end ends the cluster, and keeps what explains a failure.
func (s *site) end() {
	if s.ControlPlane == nil {
		return
	}
	if s.failed > 0 {
		_ = os.RemoveAll(s.logs)
		if err := s.CollectLogs(s.logs); err != nil {
			s.say("collect logs: %v", err)
		}
		s.explain()
		s.say("logs are in %s", s.logs)
	}
	for _, n := range s.nodes {
		n.PowerOff()
	}
	s.Stop()
}

func (s *site) explain() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for name, args := range map[string][]string{
		"events": {"get", "events", "-A", "--sort-by=.lastTimestamp"},
		"pods":   {"get", "pods", "-A", "-o", "wide"},
		"plugin": {"logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s", "--tail=-1", "--prefix"},
		"driver": {"logs", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s-dra", "--all-containers", "--tail=-1", "--prefix"},
		"claims": {"get", "resourceslices,resourceclaims,deviceclasses", "-A", "-o", "yaml"},
	} {
		out, err := s.Kubectl(ctx, args...)
		if err != nil {
			out += err.Error()
		}
		_ = os.WriteFile(filepath.Join(s.logs, name), []byte(out), 0o644)
	}
}

func (s *site) startNodes(ctx context.Context) error {
	if err := cluster.AddBridge("10.77.0.1/24"); err != nil {
		return err
	}
	var err error
	if s.ControlPlane, err = cluster.StartControlPlane(ctx, s.folder, s.peers, "10.77.0.1"); err != nil {
		return err
	}
	var images []string
	for _, name := range s.containers() {
		images = append(images, filepath.Join(s.images, name+".tar"))
	}
	wires := filepath.Join(s.folder, "wires")
	if err := os.Mkdir(wires, 0o755); err != nil {
		return err
	}
	for i, side := range []string{"a", "b"} {
		n, err := s.NewNode(node.Config{
			Name: fmt.Sprintf("node%d", i+1), Address: fmt.Sprintf("10.77.0.1%d/24", i+1), Gateway: "10.77.0.1", PodSubnet: fmt.Sprintf("10.244.%d.0/24", i+1),
		}, cluster.Parts{Program: s.node, Images: images, Multus: s.multus})
		if err != nil {
			return err
		}
		s.nodes = append(s.nodes, n)
		if err := n.BootLab(cluster.Lab{Run: s.file("test/lab/run"), Mode: s.mode, NICs: 8, Wire: wires + ":" + side, Life: life}); err != nil {
			return err
		}
	}
	for _, n := range s.nodes {
		if err := n.AwaitReady(ctx); err != nil {
			return err
		}
		state, err := n.Run(ctx, hostState)
		if err != nil {
			return err
		}
		s.before = append(s.before, state)
		if err := n.AdvertiseGPUs(ctx); err != nil {
			return err
		}
	}
	s.kubectl(ctx, "get nodes -o wide")
	for i, n := range s.nodes {
		s.shell(prompt(n), "rdma system; "+hostState, s.rdmaSystem(ctx, n)+s.before[i])
	}
	return nil
}

// containers are the images that the nodes have.
func (s *site) containers() []string {
	all := []string{"pause", "rdma-tools", "roce-k8s"}
	if s.story == "dra" {
		all = append(all, "roce-k8s-dra")
	}
	return all
}

// hostState is what must be the same when the pods are gone.
const hostState = `ip -br link | grep -E 'ens|net|dev'; rdma link`

func (s *site) rdmaSystem(ctx context.Context, n *cluster.Node) string {
	out, err := n.Run(ctx, "rdma system")
	if err == nil && !strings.Contains(out, "netns "+s.mode) {
		err = errors.New(out)
	}
	s.check(n.Name+" is in "+s.mode+" mode", err)
	return out
}

// workstation is the prompt of a shell that has the cluster's kubeconfig.
const workstation = "root@aitest1:~/rdma#"

// prompt is that of a node's own shell.
func prompt(n *cluster.Node) string { return "root@" + n.Name + ":~#" }

// apply applies what is typed behind `kubectl apply`, with its file in a folder, and
// writes it down.
func (s *site) apply(ctx context.Context, typed, folder string) error {
	args := strings.Fields(typed)
	args[len(args)-1] = filepath.Join(folder, args[len(args)-1])
	out, err := s.Kubectl(ctx, append([]string{"apply"}, args...)...)
	s.shell(workstation, "kubectl apply "+typed, out)
	return err
}

// applyChanged applies what a filter of jq makes of a file's objects.
func (s *site) applyChanged(ctx context.Context, file, filter string) error {
	objects, err := s.Kubectl(ctx, "create", "--dry-run=client", "-o", "json", "-f", s.file(file))
	if err != nil {
		return err
	}
	jq := exec.CommandContext(ctx, "jq", filter)
	jq.Stdin = strings.NewReader(objects)
	changed, err := jq.Output()
	if err != nil {
		return fmt.Errorf("jq: %w", err)
	}
	out, err := s.Apply(ctx, string(changed))
	s.shell(workstation, "kubectl create --dry-run=client -o json -f "+file+" | jq '"+filter+"' | kubectl apply -f -", out)
	return err
}

// kubectl runs a command of the guide's and writes it down.
func (s *site) kubectl(ctx context.Context, command string) (string, error) {
	out, err := s.Kubectl(ctx, strings.Fields(command)...)
	if err != nil {
		out += err.Error()
	}
	s.shell(workstation, "kubectl "+command, out)
	return out, err
}

func (s *site) deviceplugin(ctx context.Context) error {
	if err := s.apply(ctx, "-k deployments/base", s.root); err != nil {
		return err
	}
	config, err := s.kubectl(ctx, `get cm rdma-devices -n kube-system -o jsonpath={.data.config\.json}`)
	if err != nil {
		return err
	}
	if !strings.Contains(config, "ens12np0") {
		return errors.New("the ConfigMap is not the guide's")
	}
	for _, n := range s.nodes {
		s.check("rdma/hca_gpu: 8 on "+n.Name, s.awaitCount(ctx, n, "8"))
	}
	return s.allocatable(ctx)
}

// allocatable is the guide's own command.
func (s *site) allocatable(ctx context.Context) error {
	nodes, err := s.Kubectl(ctx, "get", "no", "-o", "json")
	if err != nil {
		return err
	}
	const filter = "[.items[] | {name:.metadata.name, allocable:.status.allocatable}]"
	jq := exec.CommandContext(ctx, "jq", "-r", filter)
	jq.Stdin = strings.NewReader(nodes)
	out, err := jq.Output()
	s.shell(workstation, "kubectl get no -o json | jq -r '"+filter+"'", string(out))
	return err
}

func (s *site) awaitCount(ctx context.Context, n *cluster.Node, want string) error {
	return cluster.Eventually(ctx, func() error {
		have, err := s.Kubectl(ctx, "get", "node", n.Name, "-o", "jsonpath={.status.allocatable.rdma/hca_gpu}")
		if err == nil && have != want {
			err = fmt.Errorf("%s has %q, want %s", n.Name, have, want)
		}
		return err
	})
}

// checkOffer checks that a node offers all of its NICs.
func (s *site) checkOffer(ctx context.Context, n *cluster.Node) {
	if s.story == "dra" {
		s.check("eight NICs in the ResourceSlice of "+n.Name, s.awaitSlice(ctx, n))
		return
	}
	s.check("rdma/hca_gpu: 8 on "+n.Name, s.awaitCount(ctx, n, "8"))
}

func (s *site) networks(ctx context.Context) error {
	for _, peer := range []string{"multus", "whereabouts"} {
		if err := s.Install(ctx, peer); err != nil {
			return err
		}
	}
	crds, err := s.kubectl(ctx, "get crds")
	if err != nil {
		return err
	}
	for _, crd := range []string{"ippools.whereabouts.cni.cncf.io", "overlappingrangeipreservations.whereabouts.cni.cncf.io", "network-attachment-definitions.k8s.cni.cncf.io"} {
		s.check("CRD "+crd, contains(crds, crd))
	}
	err = cluster.Eventually(ctx, func() error { // until the new kind is served
		_, err := s.Kubectl(ctx, "apply", "-f", s.file("deployments/examples/guide-networks.yaml"))
		return err
	})
	if err != nil {
		return err
	}
	nads, err := s.kubectl(ctx, "get network-attachment-definitions")
	if err != nil {
		return err
	}
	for rail := 1; rail <= rails; rail++ {
		s.check(fmt.Sprintf("network roce-net-%d", rail), contains(nads, fmt.Sprintf("roce-net-%d", rail)))
	}
	return nil
}

func contains(text, part string) error {
	if !strings.Contains(text, part) {
		return errors.New("it is not there")
	}
	return nil
}

func (s *site) startPods(ctx context.Context) error {
	out, err := s.Kubectl(ctx, "apply", "-f", s.file("deployments/examples/guide-pods.yaml"))
	s.shell(workstation, "kubectl apply -f test.yml -f test2.yml", out)
	if err != nil {
		return err
	}
	return s.awaitPods(ctx)
}

// awaitPods waits until both pods run, and shows them.
func (s *site) awaitPods(ctx context.Context) error {
	for _, p := range s.pods {
		if _, err := s.Kubectl(ctx, "wait", "--for", "condition=Ready", "--timeout", patience.String(), "pod/"+p.name); err != nil {
			return err
		}
		s.check(p.name+" is running", nil)
	}
	_, err := s.kubectl(ctx, "get pods -o wide")
	return err
}

// nodeOf is the node that a pod is on.
func (s *site) nodeOf(ctx context.Context, p *pod) (*cluster.Node, error) {
	name, err := s.Kubectl(ctx, "get", "pod", p.name, "-o", "jsonpath={.spec.nodeName}")
	if err != nil {
		return nil, err
	}
	for _, n := range s.nodes {
		if n.Name == name {
			return n, nil
		}
	}
	return nil, fmt.Errorf("%s is on node %q", p.name, name)
}

func (s *site) restartKubelet(ctx context.Context) error {
	before, err := s.lives(ctx)
	if err != nil {
		return err
	}
	if err := s.nodes[0].RestartKubelet(ctx); err != nil {
		return err
	}
	err = cluster.Eventually(ctx, func() error {
		// The device plugin says so: it is registered, and the kubelet listens.
		_, err := s.readyz(ctx, s.nodes[0])
		return err
	})
	s.check("the device plugin has registered again", err)
	s.check("rdma/hca_gpu: 8 on node1", s.awaitCount(ctx, s.nodes[0], "8"))
	after, err := s.lives(ctx)
	if err == nil && after != before {
		err = fmt.Errorf("before %s, after %s", before, after)
	}
	s.check("both pods went on running", err)
	return cluster.Eventually(ctx, func() error { // a kubelet listens before it knows its pods
		_, err := s.exec(ctx, s.pods[0], "true")
		return err
	})
}

func (s *site) readyz(ctx context.Context, n *cluster.Node) (string, error) {
	// The guest has no curl.
	return n.Run(ctx, `exec 3<>/dev/tcp/127.0.0.1/9817; printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3; grep -q ^ok$ <&3`)
}

// lives is what changes when a pod does not simply go on.
func (s *site) lives(ctx context.Context) (string, error) {
	return s.Kubectl(ctx, "get", "pods", "-o", "jsonpath={range .items[*]}{.metadata.uid} {.status.containerStatuses[*].containerID} {.status.phase} {end}")
}

func (s *site) deletePods(ctx context.Context) error {
	if _, err := s.kubectl(ctx, "delete pod gpu-rdma-pod-1 gpu-rdma-pod-2 --grace-period 1"); err != nil {
		return err
	}
	for i, n := range s.nodes {
		var have string
		err := cluster.Eventually(ctx, func() (err error) {
			if have, err = n.Run(ctx, hostState); err == nil && have != s.before[i] {
				err = fmt.Errorf("before:\n%snow:\n%s", s.before[i], have)
			}
			return err
		})
		s.shell(prompt(n), hostState, have)
		s.check("NICs and RDMA devices of "+n.Name+" are as they were", err)
		s.checkOffer(ctx, n)
	}
	taken, err := s.Kubectl(ctx, "get", "ippools.whereabouts.cni.cncf.io", "-A", "-o", "jsonpath={.items[*].spec.allocations.*.podref}")
	if err == nil && taken != "" {
		err = errors.New(taken)
	}
	s.check("no address is taken", err)
	return nil
}
