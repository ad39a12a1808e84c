package inventory

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

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

// A burst of events is more than a socket holds: what was lost may have mattered.
func TestEventsThatWereLostCountAsAChange(t *testing.T) {
	n := newTestNode(t)
	host := node.NewHost(t)
	source := kernelSources()[0]
	source.relevant = func([]byte) bool { return false }
	f, err := source.open()
	n.Must(err)
	socket, err := f.SyscallConn()
	n.Must(err)
	n.Must(socket.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 0) }))
	n.Must(err)
	for i := range 10 {
		node.AddNIC(t, host, fmt.Sprint("ens", i))
	}
	ctx, stop := context.WithCancel(n.Ctx)
	changes := 0
	source.follow(ctx, f, slog.New(slog.DiscardHandler), func() { changes++; stop() })
	if changes != 1 {
		t.Errorf("%d changes", changes)
	}
}

func TestUeventsAreNoticedIfTheyAreAboutRDMA(t *testing.T) {
	for message, want := range map[string]bool{
		"add@/devices/pci0000:00/0000:08:00.0/infiniband/mlx5_0\x00ACTION=add\x00SUBSYSTEM=infiniband\x00NAME=mlx5_0\x00": true,
		"remove@/class/infiniband_verbs/uverbs0\x00ACTION=remove\x00SUBSYSTEM=infiniband_verbs\x00":                       true,
		"bind@/devices/pci0000:00/0000:08:00.0\x00ACTION=bind\x00SUBSYSTEM=pci\x00":                                       true,
		"bind@/devices/pci0000:00/0000:08:00.0/mlx5_core.sf.2\x00ACTION=bind\x00SUBSYSTEM=auxiliary\x00":                  true,
		"add@/devices/virtual/misc/rdma_cm\x00ACTION=add\x00SUBSYSTEM=misc\x00DEVNAME=infiniband/rdma_cm\x00":             true,
		"add@/devices/virtual/bdi/7:0\x00ACTION=add\x00SUBSYSTEM=bdi\x00":                                                 false,
	} {
		if got := isRDMAEvent([]byte(message)); got != want {
			t.Errorf("%q: %v", message, got)
		}
	}
}

func TestASourceThatEndsIsClosedAndSaysSo(t *testing.T) {
	n := newTestNode(t)
	r, w, err := os.Pipe()
	n.Must(err)
	n.Must(w.Close())
	kernelSources()[0].follow(n.Ctx, r, n.Log(), func() { t.Error("a change") })
	if err := r.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("it is still open: %v", err)
	}
	if !strings.Contains(n.Logs.String(), `msg="kernel notifications ended" source=links`) {
		t.Errorf("logged:\n%s", n.Logs)
	}
}

// The kernel puts what is about the device before the name of its subsystem.
func TestALongUeventIsReadToItsEnd(t *testing.T) {
	n := newTestNode(t)
	for subsystem, want := range map[string]bool{"pci": true, "bdi": false} {
		r, w, err := os.Pipe()
		n.Must(err)
		_, err = w.WriteString("add@/devices/" + strings.Repeat("p", 1000) + "\x00SUBSYSTEM=" + subsystem + "\x00")
		n.Must(err)
		n.Must(w.Close())
		noticed := false
		kernelSource{name: "uevents", relevant: isRDMAEvent}.follow(n.Ctx, r, n.Log(), func() { noticed = true })
		if noticed != want {
			t.Errorf("%s: noticed %v", subsystem, noticed)
		}
	}
}
