package hostile_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"unsafe"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/snapshot"
)

// foulName is this program as pods call it: for what no program on a node does.
const foulName = "foul"

// foul runs one misdeed in the namespace that it is called in.
func foul(args []string) int {
	does := map[string]func(args []string) error{
		"xdp":      attachXDP,
		"tcx":      attachTCX,
		"altnames": fillWithAltNames,
		"on-host":  createOnHost,
		"to-host":  moveToHost,
		"offload":  setOffload,
		"promisc":  stayPromiscuous,
		"ping":     ping,
	}
	do, ok := does[args[0]]
	if !ok {
		fmt.Fprintln(os.Stderr, "foul: no such misdeed:", args[0])
		return 2
	}
	if err := do(args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "foul %s: %v\n", strings.Join(args, " "), err)
		return 1
	}
	return 0
}

// Of <linux/bpf.h>.
const (
	bpfProgLoad, bpfProgAttach, bpfLinkCreate = 5, 8, 28
	progSchedCls, progXDP                     = 3, 6
	attachXDPLink, attachTCXIngress           = 37, 46
	hasFrags                                  = 1 << 5
)

func bpf(command uintptr, attr []byte) (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr[0])), uintptr(len(attr)))
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// loadDrop loads a program that drops all packets.
func loadDrop(kind, verdict, flags uint32) (int, error) {
	program := binary.NativeEndian.AppendUint64(nil, 0xb7|uint64(verdict)<<32) // r0 = verdict
	program = binary.NativeEndian.AppendUint64(program, 0x95)                  // exit
	license := []byte("GPL\x00")
	var pinner runtime.Pinner
	defer pinner.Unpin()
	pinner.Pin(&program[0])
	pinner.Pin(&license[0])
	attr := make([]byte, 120)
	binary.NativeEndian.PutUint32(attr[0:], kind)
	binary.NativeEndian.PutUint32(attr[4:], 2)
	binary.NativeEndian.PutUint64(attr[8:], uint64(uintptr(unsafe.Pointer(&program[0]))))
	binary.NativeEndian.PutUint64(attr[16:], uint64(uintptr(unsafe.Pointer(&license[0]))))
	binary.NativeEndian.PutUint32(attr[44:], flags)
	return bpf(bpfProgLoad, attr)
}

const xdpDrop, tcDrop = 1, 2

// attachXDP attaches a program by its mode, "native" or "generic", or as a link
// that this process holds until it ends.
func attachXDP(args []string) error {
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	flags := uint32(0)
	if args[1] != "generic" {
		flags = hasFrags
	}
	program, err := loadDrop(progXDP, xdpDrop, flags)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	switch args[1] {
	case "generic":
		return netlink.LinkSetXdpFdWithFlags(link, program, nl.XDP_FLAGS_SKB_MODE)
	case "native":
		return netlink.LinkSetXdpFdWithFlags(link, program, nl.XDP_FLAGS_DRV_MODE)
	}
	attr := make([]byte, 64)
	binary.NativeEndian.PutUint32(attr[0:], uint32(program))
	binary.NativeEndian.PutUint32(attr[4:], uint32(link.Attrs().Index))
	binary.NativeEndian.PutUint32(attr[8:], attachXDPLink)
	if _, err := bpf(bpfLinkCreate, attr); err != nil {
		return err
	}
	return stay()
}

func attachTCX(args []string) error {
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	program, err := loadDrop(progSchedCls, tcDrop, 0)
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	attr := make([]byte, 32)
	binary.NativeEndian.PutUint32(attr[0:], uint32(link.Attrs().Index))
	binary.NativeEndian.PutUint32(attr[4:], uint32(program))
	binary.NativeEndian.PutUint32(attr[8:], attachTCXIngress)
	_, err = bpf(bpfProgAttach, attr)
	return err
}

// stay says that all is done, and never ends.
func stay() error {
	fmt.Println("ready")
	select {}
}

// fillWithAltNames gives a link as many alternative names as the kernel takes:
// 64 KiB of them.
func fillWithAltNames(args []string) error {
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	long := strings.Repeat("x", 122)
	for i := 1000; ; i++ {
		if err := netlink.LinkAddAltName(link, long+strconv.Itoa(i)); err != nil {
			if i < 1400 {
				return err
			}
			return nil
		}
	}
}

// hostNumber says that a request is for the host's namespace: eth0 has its peer
// there, so the host has a number (nsid) in this one.
func hostNumber() (*nl.RtAttr, error) {
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		return nil, err
	}
	return nl.NewRtAttr(unix.IFLA_TARGET_NETNSID, nl.Uint32Attr(uint32(eth0.Attrs().NetNsID))), nil
}

// createOnHost makes a link of a kind in the host's namespace, by the number
// that the pod's has for it.
func createOnHost(args []string) error {
	host, err := hostNumber()
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(args[0])))
	req.AddData(host)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(args[1]))
	req.AddData(info)
	if len(args) > 2 {
		mac, err := net.ParseMAC(args[2])
		if err != nil {
			return err
		}
		req.AddData(nl.NewRtAttr(unix.IFLA_ADDRESS, mac))
	}
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// moveToHost moves a link to the host's namespace, under another name.
func moveToHost(args []string) error {
	host, err := hostNumber()
	if err != nil {
		return err
	}
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	message := nl.NewIfInfomsg(unix.AF_UNSPEC)
	message.Index = int32(link.Attrs().Index)
	req.AddData(message)
	req.AddData(host)
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(args[1])))
	_, err = req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

func setOffload(args []string) error {
	for _, name := range args[1:] {
		if err := snapshot.SetOffload(args[0], name, 0); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// stayPromiscuous keeps a link promiscuous as tcpdump does, until it ends.
func stayPromiscuous(args []string) error {
	link, err := netlink.LinkByName(args[0])
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	request := unix.PacketMreq{Ifindex: int32(link.Attrs().Index), Type: unix.PACKET_MR_PROMISC}
	if err := unix.SetsockoptPacketMreq(fd, unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP, &request); err != nil {
		return err
	}
	return stay()
}

// ping is not a misdeed: it waits for an echo through a link, which not every
// machine has a program for.
func ping(args []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
	if err != nil {
		return err
	}
	if err := unix.BindToDevice(fd, args[0]); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 1}); err != nil {
		return err
	}
	to := unix.SockaddrInet4{Addr: netip.MustParseAddr(args[1]).As4()}
	request := []byte{8, 0, 0xf7, 0xff, 0, 0, 0, 0} // an echo request, with its checksum
	for range 5 {
		if err = unix.Sendto(fd, request, 0, &to); err != nil {
			continue
		}
		answer := make([]byte, 64)
		var length int
		if length, _, err = unix.Recvfrom(fd, answer, 0); err == nil && length >= 28 && answer[20] == 0 {
			return nil
		}
	}
	return fmt.Errorf("no answer: %w", err)
}
