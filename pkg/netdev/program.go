package netdev

import (
	"errors"
	"fmt"
	"slices"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Program is a BPF program on a netdev's packets that a move leaves on it: one
// for XDP, in one of three modes, or for tcx. (Those on the clsact discipline go
// with it.)
type Program struct {
	Hook string // "XDP" or "tcx"
	ID   uint32
	// attach is the hook as the kernel calls it; flag the mode of XDP.
	attach, flag uint32
	// link is the BPF link that holds the program on a tcx hook, 0 for none.
	link uint32
}

func (p Program) String() string { return fmt.Sprintf("%s program %d", p.Hook, p.ID) }

// Programs lists those on a link of this namespace.
func (n *Namespace) Programs(link netlink.Link) ([]Program, error) {
	answer, err := n.getLink(link.Attrs().Index)
	if err != nil {
		return nil, fmt.Errorf("look for programs on %s: %w", link.Attrs().Name, err)
	}
	return append(xdpOf(answer), n.tcx(link)...), nil
}

// tcx lists the programs on both tcx hooks of a link.
func (n *Namespace) tcx(link netlink.Link) (found []Program) {
	_ = n.Do(func() error {
		for _, hook := range []uint32{unix.BPF_TCX_INGRESS, unix.BPF_TCX_EGRESS} {
			found = append(found, tcxOf(link.Attrs().Index, hook)...)
		}
		return nil
	})
	return found
}

// xdpOf reads the XDP programs from an answer to RTM_GETLINK.
func xdpOf(answer []byte) (found []Program) {
	xdp := valueAt(ofLink(answer), unix.IFLA_XDP)
	for _, mode := range []struct {
		id   uint16
		flag uint32
	}{
		{unix.IFLA_XDP_DRV_PROG_ID, unix.XDP_FLAGS_DRV_MODE},
		{unix.IFLA_XDP_SKB_PROG_ID, unix.XDP_FLAGS_SKB_MODE},
		{unix.IFLA_XDP_HW_PROG_ID, unix.XDP_FLAGS_HW_MODE},
	} {
		if id, ok := number32(valueAt(xdp, mode.id)); ok {
			found = append(found, Program{Hook: "XDP", ID: id, attach: unix.BPF_XDP, flag: mode.flag})
		}
	}
	return found
}

// tcxOf asks for the programs on a tcx hook of the calling thread's namespace.
// A kernel without tcx (before 6.6) has none; a process that may not ask sees
// none.
func tcxOf(index int, hook uint32) (found []Program) {
	const most = 64 // BPF_MPROG_MAX
	programs, links := new([most]uint32), new([most]uint32)
	query := struct { // of union bpf_attr
		target, attach, queryFlags, attachFlags uint32
		programs                                *[most]uint32
		count, _                                uint32
		programFlags                            uint64
		links                                   *[most]uint32
		linkFlags, revision                     uint64
	}{target: uint32(index), attach: hook, programs: programs, count: most, links: links}
	if _, err := bpf(unix.BPF_PROG_QUERY, unsafe.Pointer(&query), unsafe.Sizeof(query)); err != nil {
		return nil
	}
	for i := range min(query.count, most) {
		found = append(found, Program{Hook: "tcx", ID: programs[i], attach: hook, link: links[i]})
	}
	return found
}

// Detach takes programs off a link of this namespace, including those that a
// BPF link holds: the kernel calls them busy, because their owner is to detach
// them. That takes CAP_SYS_ADMIN on the host.
func (n *Namespace) Detach(link netlink.Link, programs []Program) error {
	var errs []error
	for _, p := range programs {
		var err error
		switch {
		case p.attach == unix.BPF_XDP:
			err = n.detachXDP(link.Attrs().Index, p)
		case p.link != 0:
			err = endLink(p.link)
		default:
			err = n.Do(func() error { return detachTCX(link.Attrs().Index, p) })
		}
		errs = append(errs, wrap("detach "+p.String(), err))
	}
	return errors.Join(errs...)
}

func (n *Namespace) detachXDP(index int, p Program) error {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	const none = ^uint32(0) // the file descriptor -1
	_, err := n.route.Request(unix.RTM_NEWLINK, unix.NLM_F_ACK, msg, attribute(unix.IFLA_XDP,
		nl.NewRtAttr(unix.IFLA_XDP_FD, nl.Uint32Attr(none)), nl.NewRtAttr(unix.IFLA_XDP_FLAGS, nl.Uint32Attr(p.flag))))
	if !errors.Is(err, unix.EBUSY) {
		return err
	}
	ids, linkErr := xdpLinks(index, p.ID)
	for _, id := range ids {
		linkErr = errors.Join(linkErr, endLink(id))
		answer, err := n.getLink(index)
		if err != nil {
			return err
		}
		if !slices.Contains(xdpOf(answer), p) {
			return nil
		}
	}
	return errors.Join(err, linkErr)
}

// A linkInfo is struct bpf_link_info of an XDP link.
type linkInfo struct{ kind, _, program, _, index, _, _, _ uint32 }

// xdpLinks lists the BPF links that hold a program on a netdev with an ifindex,
// in whatever namespace that is.
func xdpLinks(index int, program uint32) (found []uint32, err error) {
	for id := uint32(0); ; {
		next := struct{ start, next, flags uint32 }{start: id}
		if _, err := bpf(unix.BPF_LINK_GET_NEXT_ID, unsafe.Pointer(&next), unsafe.Sizeof(next)); err != nil {
			if errors.Is(err, unix.ENOENT) {
				return found, nil
			}
			return found, err
		}
		id = next.next
		var info linkInfo
		err := withLink(id, func(fd uint32) error {
			about := struct {
				fd, length uint32
				info       *linkInfo
			}{fd, uint32(unsafe.Sizeof(info)), &info}
			_, err := bpf(unix.BPF_OBJ_GET_INFO_BY_FD, unsafe.Pointer(&about), unsafe.Sizeof(about))
			return err
		})
		if err == nil && info.kind == unix.BPF_LINK_TYPE_XDP && info.program == program && info.index == uint32(index) {
			found = append(found, id)
		}
	}
}

// endLink detaches a BPF link. Whoever holds it is left with one that does
// nothing.
func endLink(id uint32) error {
	return withLink(id, func(fd uint32) error {
		detach := struct{ link uint32 }{fd}
		_, err := bpf(unix.BPF_LINK_DETACH, unsafe.Pointer(&detach), unsafe.Sizeof(detach))
		return err
	})
}

func withLink(id uint32, f func(fd uint32) error) error {
	return withDescriptor(unix.BPF_LINK_GET_FD_BY_ID, id, f)
}

func withDescriptor(command int, id uint32, f func(fd uint32) error) error {
	get := struct{ id, _, flags uint32 }{id: id}
	fd, err := bpf(command, unsafe.Pointer(&get), unsafe.Sizeof(get))
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	return f(uint32(fd))
}

func detachTCX(index int, p Program) error {
	return withDescriptor(unix.BPF_PROG_GET_FD_BY_ID, p.ID, func(fd uint32) error {
		detach := struct{ target, program, attach uint32 }{uint32(index), fd, p.attach}
		_, err := bpf(unix.BPF_PROG_DETACH, unsafe.Pointer(&detach), unsafe.Sizeof(detach))
		return err
	})
}

// bpf is bpf(2). Its attributes have pointers of 64 bits.
func bpf(command int, attributes unsafe.Pointer, size uintptr) (int, error) {
	result, _, errno := unix.Syscall(unix.SYS_BPF, uintptr(command), uintptr(attributes), size)
	if errno != 0 {
		return 0, errno
	}
	return int(result), nil
}
