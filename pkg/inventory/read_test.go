package inventory

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAnAbandonedReadLeavesNothingBehind(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	file := filepath.Join(n.Sys(), "class/infiniband/mlx5_0/ports/1/state")
	n.Must(os.Remove(file))
	n.Must(unix.Mkfifo(file, 0o600)) // a driver that hangs
	i := n.inventory()
	ctx, cancel := context.WithCancel(n.Ctx)
	done := make(chan error, 1)
	go func() { _, err := i.Read(ctx); done <- err }()
	var hanging *os.File
	n.Until("it is being read", func() bool {
		var err error
		hanging, err = os.OpenFile(file, os.O_WRONLY|unix.O_NONBLOCK, 0)
		return err == nil
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	hanging.Close()
	i.Wait()
	if _, err := os.Stat(n.State()); !errors.Is(err, fs.ErrNotExist) || len(i.memory.all()) != 0 {
		t.Errorf("remembered: %v, %v", i.memory.all(), err)
	}
}

func TestTheJournalIsWatched(t *testing.T) {
	n := newTestNode(t, sysfs.MLX5(0))
	ctx, stop := context.WithCancel(n.Ctx)
	changed, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		n.inventory().Watch(ctx, func() {
			select {
			case changed <- struct{}{}:
			case <-ctx.Done():
			}
		})
	}()
	<-changed // the watch is there
	n.Must(n.Journal.Write(&attachment.Record{
		ContainerID: "c", IfName: "net1", NIC: attachment.NIC{Netdev: netdev.Identity{Index: 1}}, Host: netdev.State{Name: "ens11np0"},
	}))
	select {
	case <-changed:
	case <-n.Ctx.Done():
		t.Error("not noticed")
	}
	stop()
	<-done
}
