package counters

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAnEntrantIsAskedAgainAndAgainAndSaysOnceWhatItCannotRead(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "ens11np0")
	n := node.NewHere(t, sysfs.MLX5(0))
	e := NewEntrant(n.RDMA(), n.Journal, host, n.Log())
	read := func() Readings {
		done := make(chan Readings, 1)
		go func() { done <- e.Read(t.Context()) }()
		select {
		case r := <-done:
			return r
		case <-time.After(20 * time.Second):
			t.Fatal("no answer")
			return nil
		}
	}
	for range 3 {
		if got := read(); len(got) != 1 || n.Logs.String() != "" {
			t.Errorf("%v\n%s", got, n.Logs)
		}
	}
	class := filepath.Join(n.Sys(), "class/infiniband")
	n.Must(os.Rename(class, class+".away"))
	n.Must(os.WriteFile(class, nil, 0o600))
	for range 3 {
		if got := read(); len(got) != 0 {
			t.Errorf("%v", got)
		}
	}
	if said := n.Logs.String(); strings.Count(said, "cannot read counters") != 1 || !strings.Contains(said, `of="the host"`) {
		t.Errorf("logged:\n%s", said)
	}
	n.Must(os.Remove(class))
	n.Must(os.Rename(class+".away", class))
	if got := read(); len(got) != 1 {
		t.Errorf("%v", got)
	}
}

func TestAnEntrantEntersThePodsThatHaveANICWithAnRDMADevice(t *testing.T) {
	n := node.NewHere(t, sysfs.MLX5(0))
	record := attachment.Record{
		Step: attachment.Attached, IfName: "net1", Host: netdev.State{Name: "ens11np0"},
		NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}, RDMA: &rdma.Device{Bus: "pci", Address: "0000:08:00.0"}},
	}
	for container, change := range map[string]func(*attachment.Record){
		"attached": func(*attachment.Record) {}, "moving": func(r *attachment.Record) { r.Step = attachment.Prepared },
		"returned": func(r *attachment.Record) { r.Step = attachment.Returned }, "bare": func(r *attachment.Record) { r.NIC.RDMA = nil },
		"earlier": func(r *attachment.Record) { r.BootID = "22222222-0000-0000-0000-000000000000" },
	} {
		r := record
		r.ContainerID = container
		change(&r)
		n.Must(n.Journal.Update(&r)) // which leaves a record in its boot
	}
	got := NewEntrant(n.RDMA(), n.Journal, nil, n.Log()).attached()
	if len(got) != 1 || got[0].ContainerID != "attached" {
		t.Errorf("%v", got)
	}
}

func TestAnEntrantSaysWhoIsSilentAndNothingOfWhoHadNoTime(t *testing.T) {
	host := node.NewHost(t)
	n := node.NewHere(t, sysfs.MLX5(0), sysfs.MLX5(1))
	n.Must(os.Symlink("../../devices/nowhere", filepath.Join(n.Sys(), "class/infiniband/mlx5_9"))) // it has just left
	e := NewEntrant(n.RDMA(), n.Journal, host, n.Log())
	ended, end := context.WithCancel(t.Context())
	end()
	if got := e.Read(ended); len(got) != 0 || n.Logs.String() != "" {
		t.Errorf("without time: %v, logged:\n%s", got, n.Logs)
	}
	// Whoever hangs up has not made a driver hang.
	w := httptest.NewRecorder()
	e.ServeHTTP(w, httptest.NewRequestWithContext(ended, http.MethodGet, "/", nil))
	if kind := w.Header().Get("Content-Type"); kind != "application/json" {
		t.Errorf("the answer is %s", kind)
	}
	if got := w.Body.String(); !strings.Contains(got, sysfs.MLX5(0).PCI) || !strings.Contains(got, sysfs.MLX5(1).PCI) || n.Logs.String() != "" {
		t.Errorf("to one who has gone: %s, logged:\n%s", got, n.Logs)
	}
	e.patience.leave("mlx5_1") // and does not return
	if got := e.Read(t.Context()); len(got) != 1 {
		t.Errorf("with one that hangs: %v", got)
	}
	if said := n.Logs.String(); strings.Count(said, "cannot read counters") != 1 || !strings.Contains(said, "of=mlx5_1 err=\"the kernel does not answer in time\"") {
		t.Errorf("logged:\n%s", said)
	}
	// Of one that has left and come back it is news.
	n.Must(n.TakeRDMA(sysfs.MLX5(1)))
	e.Read(t.Context())
	n.Must(n.ReturnRDMA(sysfs.MLX5(1)))
	e.Read(t.Context())
	if said := n.Logs.String(); strings.Count(said, "of=mlx5_1") != 2 {
		t.Errorf("logged:\n%s", said)
	}
}

// The pod's sysfs is simulated, its netdev is a veth.
func TestOfANICInAPodItsDeviceIsReadIfThatIsThereAndItsNetdevIfItIsTheOnlyOne(t *testing.T) {
	h, other := sysfs.MLX5(0), sysfs.MLX5(1)
	pod := node.NewHost(t)
	node.AddNIC(t, pod, h.Netdev)
	for name, tt := range map[string]struct {
		change func(*node.Node, *attachment.Record)
		want   string // key, whether there are counts, whose hardware
	}{
		"its device is there":      {func(_ *node.Node, r *attachment.Record) { r.NIC.RDMAMoved = true }, "pci/0000:08:00.0 true [rail0]"},
		"its device stayed":        {func(*node.Node, *attachment.Record) {}, "pci/0000:08:00.0 false [rail0]"},
		"another is called as it":  {func(_ *node.Node, r *attachment.Record) { r.NIC.RDMA.Address = "0000:99:00.0" }, " false []"},
		"it is called otherwise":   {func(_ *node.Node, r *attachment.Record) { r.NIC.RDMA.Name = "roce0" }, "pci/0000:08:00.0 false [rail0]"},
		"a port has a netdev, too": {func(n *node.Node, _ *attachment.Record) { n.Must(n.AddRepresentor(h, "ens99np1", "p1")) }, "pci/0000:08:00.0 false []"},
	} {
		n := node.NewHere(t, other, h)
		n.Must(n.AddCounters(7, h, other))
		r := &attachment.Record{Host: netdev.State{Name: "rail0"}, NIC: attachment.NIC{RDMA: &rdma.Device{Name: h.RDMA, Bus: "pci", Address: h.PCI}}}
		tt.change(n, r)
		key, reading, err := NewEntrant(n.RDMA(), n.Journal, nil, n.Log()).readThere(n.RDMA(), pod, r)
		if got := fmt.Sprint(key, " ", reading.Counts != nil, " ", slices.Collect(maps.Keys(reading.Hardware))); got != tt.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, got, err, tt.want)
		}
	}
}

// An open namespace keeps its NICs when the pod has ended.
func TestAnEntrantLeavesNoNamespaceOpen(t *testing.T) {
	host := node.NewHost(t)
	pod, _ := node.NewPod(t)
	n := node.NewHere(t, sysfs.MLX5(0))
	n.Must(n.Journal.Write(&attachment.Record{
		Step: attachment.Attached, ContainerID: "c1", IfName: "net1", Host: netdev.State{Name: "ens11np0"},
		Netns: attachment.Namespace{Path: pod.Path, ID: pod.ID},
		NIC:   attachment.NIC{Netdev: netdev.Identity{Index: 7}, RDMA: &rdma.Device{Bus: "pci", Address: sysfs.MLX5(0).PCI}},
	}))
	records := NewEntrant(n.RDMA(), n.Journal, host, n.Log()).attached()
	if ns, err := records[0].OpenPod(); ns == nil {
		t.Fatalf("the pod is not there: %v", err)
	} else {
		ns.Close()
	}
	open := func() (found []string) {
		files, err := os.ReadDir("/proc/self/fd")
		n.Must(err)
		for _, f := range files {
			to, _ := os.Readlink("/proc/self/fd/" + f.Name())
			if to == fmt.Sprintf("net:[%d]", pod.ID) || to == "/" {
				found = append(found, to)
			}
		}
		return found
	}
	before := open()
	for range 3 {
		NewEntrant(n.RDMA(), n.Journal, host, n.Log()).Read(t.Context())
	}
	if after := open(); len(after) != len(before) {
		t.Errorf("open are %q, there were %q; logged:\n%s", after, before, n.Logs)
	}
}
