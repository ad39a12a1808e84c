package inventory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

// Watch calls changed whenever something may have changed, until ctx ends: the
// kernel says so, or the journal changed. What neither shows is left to
// whoever reads at intervals.
func (i *Inventory) Watch(ctx context.Context, changed func()) {
	var running sync.WaitGroup
	defer running.Wait()
	for _, s := range kernelSources() {
		running.Go(func() { s.listen(ctx, i.log, changed) })
	}
	journal := watch.Folder{
		Dir: i.journal.RecordsDir(), Log: i.log,
		Relevant: func(path string) bool { return filepath.Ext(path) == ".json" },
	}
	running.Go(func() { journal.Run(ctx, changed) })
}

// rdmaNotifications is the multicast group RDMA_NL_GROUP_NOTIFY of
// NETLINK_RDMA (rdma/rdma_netlink.h, Linux 6.12 and later).
const rdmaNotifications = 4

// A kernelSource is a netlink multicast group that says when to look again.
// What its messages say in detail does not matter.
type kernelSource struct {
	name     string
	protocol int
	group    int
	relevant func(message []byte) bool
}

func kernelSources() []kernelSource {
	all := func([]byte) bool { return true }
	return []kernelSource{
		{"links", unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, all},
		{"RDMA devices", unix.NETLINK_RDMA, rdmaNotifications, all},
		{"uevents", unix.NETLINK_KOBJECT_UEVENT, 1, isRDMAEvent},
	}
}

// isRDMAEvent tells whether a uevent is about RDMA devices, their character
// devices, or the buses that carry them. Netdevs have their own source.
func isRDMAEvent(message []byte) bool {
	for _, subsystem := range []string{"infiniband", "pci", "auxiliary", "misc"} {
		if bytes.Contains(message, []byte("\x00SUBSYSTEM="+subsystem)) {
			return true
		}
	}
	return false
}

// listen calls changed for each message of a source until ctx ends. A source
// that is not available, as on an older kernel, ends at once: rescans at
// intervals remain.
func (s kernelSource) listen(ctx context.Context, log *slog.Logger, changed func()) {
	f, err := s.open()
	if err != nil {
		log.Debug("no kernel notifications", "source", s.name, "err", err)
		return
	}
	s.follow(ctx, f, log, changed)
}

// longestUevent is in bytes: the kernel makes none longer (UEVENT_BUFFER_SIZE,
// and the header). For the other sources it only matters that they said
// something, and what does not fit is cut off.
const longestUevent = 4 << 10

// follow reads an open source, and closes it.
func (s kernelSource) follow(ctx context.Context, f *os.File, log *slog.Logger, changed func()) {
	stop := context.AfterFunc(ctx, func() { f.Close() })
	defer func() {
		if stop() {
			f.Close()
		}
	}()
	buffer := make([]byte, longestUevent)
	for {
		n, err := f.Read(buffer)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			changed() // more than the socket could hold: something was lost
		case err != nil:
			log.Warn("kernel notifications ended", "source", s.name, "err", err)
			return
		case s.relevant(buffer[:n]):
			changed()
		}
	}
}

// open joins the group. The file is non-blocking, so that closing it ends a
// read.
func (s kernelSource) open() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, s.protocol)
	if err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, s.group)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("join the netlink group: %w", err)
	}
	return os.NewFile(uintptr(fd), "netlink "+s.name), nil
}
