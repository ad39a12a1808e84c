package kubeapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// network is a network of the operator's guide, letter for letter but for the numbers.
func network(n int) string {
	return fmt.Sprintf(`{
    "cniVersion": "0.3.1",
    "name": "roce-net%[1]d",
    "type": "host-device",
    "device": "ens12np0",
    "ipam": {
      "type": "whereabouts",
      "range": "172.31.%[1]d.0/24",
      "gateway": "172.31.%[1]d.1"
    }
  }`, n)
}

func TestWhereaboutsGivesEachPodItsOwnAddressAndReusesWhatIsFreed(t *testing.T) {
	w := newWhereabouts(t)
	// The first address is the gateway's: that is Whereabouts' doing with the guide's ranges.
	w.add(t, 1, "pod-1", "172.31.1.1/24")
	w.add(t, 1, "pod-2", "172.31.1.2/24")
	w.add(t, 2, "pod-1", "172.31.2.1/24")
	w.add(t, 2, "pod-2", "172.31.2.2/24")
	w.holds(t, "172.31.1.0-24 1=default/pod-1 2=default/pod-2", "172.31.2.0-24 1=default/pod-1 2=default/pod-2")
	w.reserves(t, "172.31.1.1", "172.31.1.2", "172.31.2.1", "172.31.2.2")

	w.add(t, 1, "pod-1", "172.31.1.1/24") // the same attachment again

	w.del(t, 1, "pod-1")
	w.holds(t, "172.31.1.0-24 2=default/pod-2", "172.31.2.0-24 1=default/pod-1 2=default/pod-2")
	w.reserves(t, "172.31.1.2", "172.31.2.1", "172.31.2.2")
	w.del(t, 1, "pod-1")

	w.add(t, 1, "pod-3", "172.31.1.1/24")
	for _, left := range []struct {
		net int
		pod string
	}{{1, "pod-3"}, {1, "pod-2"}, {2, "pod-1"}, {2, "pod-2"}} {
		w.del(t, left.net, left.pod)
	}
	w.holds(t, "172.31.1.0-24", "172.31.2.0-24")
	w.reserves(t)
}

func TestEightWhereaboutsAtOnceGiveEightAddresses(t *testing.T) {
	w := newWhereabouts(t)
	all := func(command string) []string {
		var wg sync.WaitGroup
		answers := make([]string, 8)
		for i := range answers {
			wg.Go(func() {
				out, err := w.run(command, 1, fmt.Sprintf("pod-%d", i))
				if err != nil {
					t.Errorf("%s %d: %v", command, i, err)
				}
				answers[i] = address(out)
			})
		}
		wg.Wait()
		slices.Sort(answers)
		return answers
	}
	given := all("ADD")
	want := []string{}
	for i := range 8 {
		want = append(want, fmt.Sprintf("172.31.1.%d/24", i+1))
	}
	if !slices.Equal(given, want) {
		t.Errorf("addresses: got %q, want %q", given, want)
	}
	all("DEL")
	w.holds(t, "172.31.1.0-24")
	w.reserves(t)
}

// whereabouts is the real program, in a root folder of its own where its configuration is at its default place.
type whereabouts struct {
	server *Server
	root   string
}

func newWhereabouts(t *testing.T) *whereabouts {
	t.Helper()
	peers := os.Getenv("ROCE_PEERS_DIR")
	if peers == "" {
		const reason = "needs the real Whereabouts: ROCE_PEERS_DIR=$(test/peers/build whereabouts)"
		if strings.Contains(os.Getenv("ROCE_TEST_REQUIRE"), "peers") {
			t.Fatal(reason)
		}
		t.Skip(reason)
	}
	program, err := os.ReadFile(filepath.Join(peers, "whereabouts@v0.8.0", "whereabouts"))
	if err != nil {
		t.Fatal(err)
	}
	w := &whereabouts{root: t.TempDir()}
	if err := os.WriteFile(filepath.Join(w.root, "whereabouts"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	if w.server, err = Start("127.0.0.1:0", log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.server.Close() })
	if err := (WhereaboutsConfig{Server: w.server.URL(), Root: w.root}).Write(); err != nil {
		t.Fatal(err)
	}
	return w
}

// run calls Whereabouts as a CNI plugin does, for a pod's interface in one of the guide's networks.
func (w *whereabouts) run(command string, net int, pod string) (string, error) {
	run := exec.Command("/whereabouts")
	run.SysProcAttr = &syscall.SysProcAttr{Chroot: w.root}
	if os.Geteuid() != 0 {
		run.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		run.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		run.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	run.Env = []string{
		"CNI_COMMAND=" + command,
		"CNI_CONTAINERID=sandbox-of-" + pod,
		"CNI_NETNS=/var/run/netns/" + pod,
		"CNI_IFNAME=" + fmt.Sprintf("net%d", net),
		"CNI_PATH=/",
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=" + pod,
	}
	run.Stdin = strings.NewReader(network(net))
	var complaints bytes.Buffer
	run.Stderr = &complaints
	out, err := run.Output()
	if err != nil {
		return "", fmt.Errorf("%w\n%s%s", err, out, &complaints)
	}
	return string(out), nil
}

func (w *whereabouts) add(t *testing.T, net int, pod, want string) {
	t.Helper()
	out, err := w.run("ADD", net, pod)
	if err != nil {
		t.Fatalf("ADD of %s to network %d: %v", pod, net, err)
	}
	if got := address(out); got != want {
		t.Errorf("ADD of %s to network %d: got %s, want %s", pod, net, out, want)
	}
}

func (w *whereabouts) del(t *testing.T, net int, pod string) {
	t.Helper()
	if _, err := w.run("DEL", net, pod); err != nil {
		t.Fatalf("DEL of %s from network %d: %v", pod, net, err)
	}
}

// holds checks the pools: their names, then offset=pod of every address that is taken.
func (w *whereabouts) holds(t *testing.T, want ...string) {
	t.Helper()
	got := []string{}
	for _, raw := range w.server.List("ippools") {
		var pool struct {
			Metadata struct{ Name string }
			Spec     struct {
				Allocations map[string]struct{ PodRef string }
			}
		}
		if err := json.Unmarshal(raw, &pool); err != nil {
			t.Fatal(err)
		}
		taken := []string{}
		for offset, by := range pool.Spec.Allocations {
			taken = append(taken, offset+"="+by.PodRef)
		}
		slices.Sort(taken)
		got = append(got, strings.Join(append([]string{pool.Metadata.Name}, taken...), " "))
	}
	if !slices.Equal(got, want) {
		t.Errorf("pools: got %q, want %q", got, want)
	}
}

// reserves checks the cluster-wide reservations, which Whereabouts makes to spot overlapping ranges.
func (w *whereabouts) reserves(t *testing.T, want ...string) {
	t.Helper()
	got := []string{}
	for _, raw := range w.server.List("overlappingrangeipreservations") {
		var reservation struct{ Metadata struct{ Name string } }
		if err := json.Unmarshal(raw, &reservation); err != nil {
			t.Fatal(err)
		}
		got = append(got, reservation.Metadata.Name)
	}
	if !slices.Equal(got, want) {
		t.Errorf("reservations: got %q, want %q", got, want)
	}
}

// address is that of a CNI result; empty when there is none.
func address(result string) string {
	var parsed struct {
		IPs []struct{ Address string }
	}
	if json.Unmarshal([]byte(result), &parsed) != nil || len(parsed.IPs) != 1 {
		return ""
	}
	return parsed.IPs[0].Address
}
