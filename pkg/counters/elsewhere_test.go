package counters

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// serve serves h on a unix socket.
func serve(t *testing.T, h http.Handler) (socket string) {
	t.Helper()
	dir := sockets.Folder(t)
	socket = filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return socket
}

// The host's sysfs is simulated, its netdevs are veths.
func TestAnEntrantAnswersForTheNICsThatItFinds(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "ens11np0")
	n := node.Node{T: t, Dir: t.TempDir(), Logs: &node.Logs{}}
	var err error
	n.Tree, err = sysfs.New(n.Dir)
	n.Must(err)
	n.Must(n.Add(sysfs.MLX5(0), sysfs.MLX5(1), sysfs.MLX5(2)))
	n.Boot("11111111-0000-0000-0000-000000000000")
	n.Attach(rdma.Exclusive, sysfs.MLX5(1)) // into a namespace that has ended
	n.Must(n.TakeNetdev(sysfs.MLX5(2)))
	n.Must(n.AddRepresentor(sysfs.MLX5(0), "ens99np1", "p1")) // the netdev of another port
	got, err := AskEntrant(serve(t, NewEntrant(n.RDMA(), n.Journal, host, n.Log())))(t.Context())
	n.Must(err)
	r := got["pci/"+sysfs.MLX5(0).PCI]
	if names := slices.Sorted(maps.Keys(r.Hardware)); !slices.Equal(names, []string{"ens11np0", "ens99np1"}) || r.Counts != nil || len(got) != 1 {
		t.Errorf("%+v", got)
	}
	if n.Logs.String() != "" {
		t.Errorf("logged:\n%s", n.Logs)
	}
	// A pod's namespace that is another one by now is not entered.
	record := &attachment.Record{
		Step: attachment.Attached, ContainerID: "pod2", IfName: "net1", Netns: attachment.Namespace{Path: "/proc/thread-self/ns/net", ID: 1},
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}, RDMA: &rdma.Device{Bus: "pci", Address: sysfs.MLX5(2).PCI}, RDMAMoved: true}, Host: netdev.State{Name: "ens13np0"},
	}
	n.Must(n.Journal.Write(record))
	if got := NewEntrant(n.RDMA(), n.Journal, host, n.Log()).Read(t.Context()); len(got) != 1 {
		t.Errorf("%+v", got)
	}
}

func TestWhoeverAnswersNonsenseIsNotBelieved(t *testing.T) {
	for name, h := range map[string]http.HandlerFunc{
		"another program": http.NotFound,
		"a cut answer":    func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"pci/0000:08:00.0": {`)) },
		"a slow one":      func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		if got, err := AskEntrant(serve(t, h))(ctx); err == nil || len(got) > 0 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
		cancel()
	}
	if _, err := AskEntrant("/nowhere")(t.Context()); err == nil || !strings.Contains(err.Error(), "/nowhere") {
		t.Errorf("nobody: %v", err)
	}
}

func TestOnlyWhatTellsOfCongestionIsTakenOfADriversStatistics(t *testing.T) {
	for name, want := range map[string]bool{
		"rx_prio3_pause": true, "tx_global_pause_duration": true, "rx_discards_phy": true, "rx_prio0_discards": true, "rx_pfc_ena_frames_pri3": true,
		"rx_discard_bytes_cos0":  true, // bnxt_en
		"tx_priority_3_xoff.nic": true, "link_xon_rx.nic": true, "ch0_poll": false, "rx_packets": false, "rx0_xdp_drop": false,
	} {
		if tellsOfCongestion(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}

func TestTheAnswerOfALargeNodeIsReadToItsEnd(t *testing.T) {
	all := Readings{}
	for i := range 256 {
		counts := &rdma.Counts{Ports: []rdma.PortCounts{{Number: 1, Counters: make([]netdev.Counter, 50)}}}
		all[fmt.Sprint("pci/", i)] = Reading{Counts: counts}
	}
	h := func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(all) }
	if got, err := AskEntrant(serve(t, http.HandlerFunc(h)))(t.Context()); err != nil || len(got) != len(all) {
		t.Errorf("%d devices of %d, %v", len(got), len(all), err)
	}
}
