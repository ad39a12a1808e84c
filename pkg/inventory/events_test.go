package inventory

import (
	"context"
	"log/slog"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestLinksAndDevicesThatChangeAreNoticed(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	ctx, stop := context.WithCancel(n.Ctx)
	seen := make(chan struct{}, 1)
	done := make(chan struct{})
	source := kernelSources()[0]
	f, err := source.open() // on this thread, in its namespace
	n.Must(err)
	go func() {
		defer close(done)
		source.follow(ctx, f, slog.New(slog.DiscardHandler), func() {
			select {
			case seen <- struct{}{}:
			default:
			}
		})
	}()
	node.AddNIC(t, host, "ens12np0")
	select {
	case <-seen:
	case <-n.Ctx.Done():
		t.Error("not noticed")
	}
	stop()
	<-done
}

func TestUeventsAreNoticedIfTheyAreAboutRDMA(t *testing.T) {
	for message, want := range map[string]bool{
		"add@/devices/pci0000:00/0000:08:00.0/infiniband/mlx5_0\x00ACTION=add\x00SUBSYSTEM=infiniband\x00NAME=mlx5_0\x00": true,
		"remove@/class/infiniband_verbs/uverbs0\x00ACTION=remove\x00SUBSYSTEM=infiniband_verbs\x00":                       true,
		"bind@/devices/pci0000:00/0000:08:00.0\x00ACTION=bind\x00SUBSYSTEM=pci\x00":                                       true,
		"add@/devices/virtual/bdi/7:0\x00ACTION=add\x00SUBSYSTEM=bdi\x00":                                                 false,
	} {
		if got := isRDMAEvent([]byte(message)); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
}
