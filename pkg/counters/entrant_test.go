package counters

import (
	"os"
	"path/filepath"
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
