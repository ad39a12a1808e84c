package rdma

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// A fakeKernel answers NETLINK_RDMA on machines whose kernel does not: to a command
// with attributes by attributes, or by an error. The messages are the kernel's own.
type fakeKernel func(command int, asked map[uint16][]byte) (answers [][]byte, refusal unix.Errno)

// interrupted marks a list that has changed while it was written.
const interrupted = unix.EINTR

// open is Open for the test's own namespace, with the fake kernel at the other end.
func (k fakeKernel) open(t *testing.T) *Namespace {
	t.Helper()
	n, _ := k.openUntil(t)
	return n
}

// openUntil is open; after end nothing is asked any more.
func (k fakeKernel) openUntil(t *testing.T) (n *Namespace, end func()) {
	t.Helper()
	own, err := netns.Get()
	fatal(t, err)
	socket, err := netdev.OpenSocket(netns.None(), unix.NETLINK_ROUTE)
	fatal(t, err)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0) // which takes any address
	fatal(t, err)
	fd := int(reflect.ValueOf(socket).Elem().FieldByName("fd").Int())
	fatal(t, errors.Join(unix.Dup3(pair[0], fd, unix.O_CLOEXEC), unix.Close(pair[0])))
	var serving sync.WaitGroup
	serving.Go(func() { k.serve(pair[1]) })
	n = &Namespace{own, socket}
	end = sync.OnceFunc(func() {
		n.Close()
		own.Close()
		serving.Wait()
	})
	t.Cleanup(end)
	return n, end
}

func (k fakeKernel) serve(fd int) {
	defer unix.Close(fd)
	for request := make([]byte, 64<<10); ; {
		length, err := unix.Read(fd, request)
		if err != nil || length == 0 { // closed
			return
		}
		messages, err := syscall.ParseNetlinkMessage(request[:length])
		if err != nil {
			return
		}
		header, asked := messages[0].Header, map[uint16][]byte{}
		for kind, value := range netdev.Attributes(messages[0].Data) {
			asked[kind] = bytes.Clone(value)
		}
		answers, refusal := [][]byte(nil), unix.EINVAL
		if header.Type>>nl.RDMA_NL_GET_CLIENT_SHIFT == nl.RDMA_NL_NLDEV {
			answers, refusal = k(int(header.Type)&(1<<nl.RDMA_NL_GET_CLIENT_SHIFT-1), asked)
		}
		var datagram []byte
		say := func(kind, flags uint16, body []byte) {
			datagram = binary.NativeEndian.AppendUint32(datagram, uint32(unix.NLMSG_HDRLEN+len(body)))
			datagram = binary.NativeEndian.AppendUint16(datagram, kind)
			datagram = binary.NativeEndian.AppendUint16(datagram, flags)
			datagram = binary.NativeEndian.AppendUint32(datagram, header.Seq)
			datagram = append(append(datagram, 0, 0, 0, 0), body...)
		}
		list := header.Flags&unix.NLM_F_DUMP == unix.NLM_F_DUMP
		for _, answer := range answers {
			switch {
			case list && refusal == interrupted:
				say(header.Type, unix.NLM_F_MULTI|unix.NLM_F_DUMP_INTR, answer)
			case list:
				say(header.Type, unix.NLM_F_MULTI, answer)
			default:
				say(header.Type, 0, answer)
			}
		}
		if refusal == interrupted {
			refusal = 0
		}
		if list && refusal == 0 {
			say(unix.NLMSG_DONE, unix.NLM_F_MULTI, make([]byte, 4))
		} else if refusal != 0 || header.Flags&unix.NLM_F_ACK != 0 {
			end := binary.NativeEndian.AppendUint32(nil, uint32(-int32(refusal)))
			say(unix.NLMSG_ERROR, unix.NLM_F_CAPPED, append(end, request[:unix.NLMSG_HDRLEN]...))
		}
		if _, err := unix.Write(fd, datagram); err != nil {
			return
		}
	}
}

// has is a kernel with devices.
func has(links ...Link) fakeKernel {
	return func(command int, asked map[uint16][]byte) (answers [][]byte, refusal unix.Errno) {
		index, one := asked[nl.RDMA_NLDEV_ATTR_DEV_INDEX]
		for _, l := range links {
			number := nl.Uint32Attr(l.Index)
			if one && !bytes.Equal(index, number) {
				continue
			}
			guid, _ := strconv.ParseUint(strings.ReplaceAll(l.NodeGUID, ":", ""), 16, 64)
			answers = append(answers, slices.Concat(attribute(nl.RDMA_NLDEV_ATTR_DEV_INDEX, number), attribute(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated(l.Name)),
				attribute(nl.RDMA_NLDEV_ATTR_NODE_GUID, binary.NativeEndian.AppendUint64(nil, guid))))
		}
		switch {
		case command != nl.RDMA_NLDEV_CMD_GET:
			return nil, unix.EOPNOTSUPP
		case one && len(answers) == 0:
			return nil, unix.ENODEV
		}
		return answers, 0
	}
}

func attribute(kind int, value []byte) []byte { return nl.NewRtAttr(kind, value).Serialize() }

func fatal(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestADeviceIsFoundByItsIndexIfThatIsStillItsOwn(t *testing.T) {
	mine, other := Link{3, "mlx5_0", "946d:ae03:00c6:0001"}, Link{4, "mlx5_1", "946d:ae03:00c6:0002"}
	for name, tt := range map[string]struct {
		device  Device
		refusal unix.Errno
		want    Link
		asked   int
	}{
		"by its index":          {Device{NodeGUID: mine.NodeGUID, Index: new(uint32(3))}, 0, mine, 1},
		"another has its index": {Device{NodeGUID: mine.NodeGUID, Index: new(uint32(4))}, 0, mine, 2},
		"nobody has its index":  {Device{NodeGUID: mine.NodeGUID, Index: new(uint32(9))}, 0, mine, 2},
		"without an index":      {Device{NodeGUID: other.NodeGUID}, 0, other, 1},
		"not there":             {Device{NodeGUID: "946d:ae03:00c6:0003"}, 0, Link{}, 2},
		"no answer":             {Device{NodeGUID: mine.NodeGUID, Index: new(uint32(3))}, unix.EPERM, Link{}, 2},
	} {
		asked := 0
		n, end := fakeKernel(func(command int, about map[uint16][]byte) ([][]byte, unix.Errno) {
			asked++
			if tt.refusal != 0 {
				return nil, tt.refusal
			}
			return has(mine, other)(command, about)
		}).openUntil(t)
		link, ok, err := n.Find(tt.device)
		end()
		if link != tt.want || ok != (tt.want != Link{}) || tt.refusal == 0 && err != nil || tt.refusal != 0 && !errors.Is(err, tt.refusal) || asked != tt.asked {
			t.Errorf("%s: %+v, %v, %v, asked %d times", name, link, ok, err, asked)
		}
	}
	(*Namespace)(nil).Close() // of who has not opened one
}

func TestTheModeIsWhatTheKernelSays(t *testing.T) {
	for name, tt := range map[string]struct {
		answer  []byte
		refusal unix.Errno
		want    Mode
		err     error
	}{
		"exclusive":            {attribute(nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE, []byte{0}), 0, Exclusive, nil},
		"shared":               {attribute(nl.RDMA_NLDEV_SYS_ATTR_NETNS_MODE, []byte{1}), 0, Shared, nil},
		"nothing":              {attribute(nl.RDMA_NLDEV_ATTR_DEV_INDEX, []byte{0}), 0, Shared, nil},
		"an old kernel":        {nil, unix.EINVAL, Shared, nil},
		"another old kernel":   {nil, unix.EOPNOTSUPP, Shared, nil},
		"one that refuses":     {nil, unix.EPERM, "", unix.EPERM},
		"one without a module": {nil, unix.ECONNREFUSED, "", ErrNoSubsystem},
	} {
		n := fakeKernel(func(int, map[uint16][]byte) ([][]byte, unix.Errno) {
			if tt.answer == nil {
				return nil, tt.refusal
			}
			return [][]byte{tt.answer}, 0
		}).open(t)
		if mode, err := n.Mode(); mode != tt.want || !errors.Is(err, tt.err) || tt.err == nil && err != nil {
			t.Errorf("%s: %q, %v", name, mode, err)
		}
	}
}

func TestUsersOfADeviceAreNamedOnce(t *testing.T) {
	const entry = 20 // RDMA_NLDEV_ATTR_RES_QP_ENTRY
	pair := func(parts ...[]byte) []byte { return attribute(entry, slices.Concat(parts...)) }
	process := attribute(nldevAttrResPID, nl.Uint32Attr(77))
	service := attribute(nldevAttrKernName, nl.ZeroTerminated("nvme_rdma"))
	answers := [][]byte{
		attribute(nldevAttrResQP, slices.Concat(pair(process), pair(service), pair(attribute(nldevAttrResType, []byte{qpGSI}), service))),
		attribute(nldevAttrResQP, slices.Concat(pair(process), pair(attribute(nldevAttrResPID, nl.Uint32Attr(78))))),
	}
	for refusal, want := range map[unix.Errno]string{0: "[process 77 nvme_rdma process 78] <nil>", unix.EINVAL: "[] <nil>", unix.EOPNOTSUPP: "[] <nil>",
		unix.EPERM: "[] list the queue pairs of mlx5_0: operation not permitted"} {
		asked := 0
		n := fakeKernel(func(command int, about map[uint16][]byte) ([][]byte, unix.Errno) {
			if command != nldevCmdResQPGet || !bytes.Equal(about[nl.RDMA_NLDEV_ATTR_DEV_INDEX], nl.Uint32Attr(3)) {
				return nil, unix.EBADMSG
			}
			if refusal != 0 {
				return nil, refusal
			}
			if asked++; asked == 1 {
				return answers[1:], interrupted
			}
			return answers, 0
		}).open(t)
		users, err := n.Users(Link{Index: 3, Name: "mlx5_0"}, "mlx5_core")
		if got := fmt.Sprint(users, " ", err); got != want {
			t.Errorf("%v: %s, want %s", refusal, got, want)
		}
	}
}

// charDevices is a kernel that says what character devices a device has, by kind and
// port: a kind that is not in it there is none of.
func charDevices(names map[string]string, refusals map[string]unix.Errno) fakeKernel {
	return func(command int, asked map[uint16][]byte) ([][]byte, unix.Errno) {
		kind := text(asked[nldevAttrCharDevType])
		if port := asked[nl.RDMA_NLDEV_ATTR_PORT_INDEX]; port != nil {
			kind += fmt.Sprint(binary.NativeEndian.Uint32(port))
		}
		switch {
		case command != nldevCmdGetCharDev || !bytes.Equal(asked[nl.RDMA_NLDEV_ATTR_DEV_INDEX], nl.Uint32Attr(3)):
			return nil, unix.EBADMSG
		case refusals[kind] != 0:
			return nil, refusals[kind]
		case names[kind] == "":
			return nil, unix.EOPNOTSUPP
		}
		return [][]byte{attribute(nldevAttrCharDevName, nl.ZeroTerminated(names[kind]))}, 0
	}
}

func TestTheKernelIsAskedForTheCharacterDevicesOfADeviceAndItsPorts(t *testing.T) {
	h := sysfs.MLX5(0)
	tree, err := sysfs.New(t.TempDir())
	fatal(t, errors.Join(err, tree.Add(h)))
	node := Node{Sys: tree.Sys(), Dev: tree.Dev()}
	for _, name := range []string{"uverbs7", "umad7", "umad8", "issm7"} {
		fatal(t, os.WriteFile(filepath.Join(node.Dev, "infiniband", name), nil, 0o600))
	}
	d := Device{Name: "mlx5_0", Bus: BusPCI, Address: h.PCI, Ports: []Port{{Number: 1}, {Number: 2}}}
	withoutMAD := Node{Sys: t.TempDir(), Dev: node.Dev}
	all := map[string]string{"uverbs": "uverbs7", "umad1": "umad7", "umad2": "umad8", "issm1": "issm7", "issm2": "issm9"} // the last has no node
	for name, tt := range map[string]struct {
		node     Node
		refusals map[string]unix.Errno
		want     string
	}{
		"all":                  {node, nil, "issm7 umad7 umad8 uverbs7"},
		"a kind that it lacks": {node, map[string]unix.Errno{"umad2": unix.EOPNOTSUPP}, "issm7 umad7 uverbs7"},
		"without that module":  {withoutMAD, map[string]unix.Errno{"umad1": unix.EPERM}, "uverbs7"},
		"an old kernel":        {node, map[string]unix.Errno{"uverbs": unix.EINVAL}, "issm0 umad0 uverbs0"}, // as sysfs says
		"none of the first":    {node, map[string]unix.Errno{"uverbs": unix.EPERM}, "ask for the character devices of roce0: operation not permitted"},
		"none of a port's":     {node, map[string]unix.Errno{"issm2": unix.EPERM}, "ask for the character devices of roce0: operation not permitted"},
	} {
		paths, err := charDevices(all, tt.refusals).open(t).CharDevices(tt.node, Link{Index: 3, Name: "roce0"}, d)
		var names []string
		for _, path := range paths {
			if filepath.Dir(path) != filepath.Join(node.Dev, "infiniband") {
				t.Errorf("%s: %s", name, path)
			}
			names = append(names, filepath.Base(path))
		}
		if err != nil {
			names = append(names, err.Error())
		}
		if got := strings.Join(names, " "); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// What is told of a change is what the kernel is asked for.
func TestADeviceIsMovedRenamedAndMadeAsTheKernelIsAsked(t *testing.T) {
	link, to := Link{Index: 3, Name: "mlx5_0"}, &Namespace{ns: 44}
	for name, tt := range map[string]struct {
		do      func(*Namespace) error
		refusal unix.Errno
		command int
		asked   map[uint16]string
		want    string
	}{
		"moved": {func(n *Namespace) error { return n.Move(link, to) }, 0, nl.RDMA_NLDEV_CMD_SET,
			map[uint16]string{nl.RDMA_NLDEV_ATTR_DEV_INDEX: "\x03\x00\x00\x00", nl.RDMA_NLDEV_NET_NS_FD: "\x2c\x00\x00\x00"}, "<nil>"},
		"moved in shared mode": {func(n *Namespace) error { return n.Move(link, to) }, unix.EOPNOTSUPP, nl.RDMA_NLDEV_CMD_SET, nil,
			"move RDMA device mlx5_0: the RDMA subsystem is in shared mode, or its driver cannot change namespaces: operation not supported"},
		"not moved": {func(n *Namespace) error { return n.Move(link, to) }, unix.EBUSY, nl.RDMA_NLDEV_CMD_SET, nil, "move RDMA device mlx5_0: device or resource busy"},
		"renamed": {func(n *Namespace) error { return n.Rename(link, "roce0") }, 0, nl.RDMA_NLDEV_CMD_SET,
			map[uint16]string{nl.RDMA_NLDEV_ATTR_DEV_INDEX: "\x03\x00\x00\x00", nl.RDMA_NLDEV_ATTR_DEV_NAME: "roce0\x00"}, "<nil>"},
		"not renamed": {func(n *Namespace) error { return n.Rename(link, "roce0") }, unix.EEXIST, nl.RDMA_NLDEV_CMD_SET, nil, "rename RDMA device mlx5_0 to roce0: file exists"},
		"made": {func(n *Namespace) error { return n.AddSoft(Device{Name: "siw0", SoftKind: "siw"}, "eth0") }, 0, nl.RDMA_NLDEV_CMD_NEWLINK,
			map[uint16]string{nl.RDMA_NLDEV_ATTR_DEV_NAME: "siw0\x00", nl.RDMA_NLDEV_ATTR_LINK_TYPE: "siw\x00", nl.RDMA_NLDEV_ATTR_NDEV_NAME: "eth0\x00"}, "<nil>"},
		"made before": {func(n *Namespace) error { return n.AddSoft(Device{Name: "siw0", SoftKind: "siw"}, "eth0") }, unix.EEXIST, nl.RDMA_NLDEV_CMD_NEWLINK, nil, "<nil>"},
		"not made": {func(n *Namespace) error { return n.AddSoft(Device{Name: "siw0", SoftKind: "siw"}, "eth0") }, unix.EPERM, nl.RDMA_NLDEV_CMD_NEWLINK, nil,
			"make RDMA device siw0 on eth0: operation not permitted"},
	} {
		command, got := 0, map[uint16]string{}
		n, end := fakeKernel(func(asked int, about map[uint16][]byte) ([][]byte, unix.Errno) {
			command = asked
			for kind, value := range about {
				got[kind] = string(value)
			}
			return nil, tt.refusal
		}).openUntil(t)
		err := tt.do(n)
		end()
		if said := fmt.Sprint(err); said != tt.want || command != tt.command || tt.asked != nil && !reflect.DeepEqual(got, tt.asked) || err != nil && !errors.Is(err, tt.refusal) {
			t.Errorf("%s: %s, asked for %d with %v", name, said, command, got)
		}
	}
}

// The kernel shows a device that it is deleting for some milliseconds.
func TestADeviceIsGoneWhenNoneOfItsNameIsThere(t *testing.T) {
	soft := Device{Name: "rxe0", NodeGUID: "0000:00ff:fe00:0007"}
	there, beside := Link{1, "rxe0", soft.NodeGUID}, Link{2, "siw0", soft.NodeGUID}
	for name, tt := range map[string]struct {
		lists   []fakeKernel // the last one again and again
		within  time.Duration
		gone    bool
		refusal error
	}{
		"there":                      {[]fakeKernel{has(there)}, 30 * time.Millisecond, false, nil},
		"gone":                       {[]fakeKernel{has()}, time.Minute, true, nil},
		"gone after a while":         {[]fakeKernel{has(there), has(there), has()}, time.Minute, true, nil},
		"another on the same netdev": {[]fakeKernel{has(beside)}, time.Minute, true, nil},
		"not to be told": {[]fakeKernel{func(int, map[uint16][]byte) ([][]byte, unix.Errno) { return nil, unix.EPERM }},
			time.Minute, false, unix.EPERM},
	} {
		asked := 0
		n := fakeKernel(func(command int, about map[uint16][]byte) ([][]byte, unix.Errno) {
			asked++
			return tt.lists[min(asked, len(tt.lists))-1](command, about)
		}).open(t)
		if gone, err := n.IsGone(t.Context(), soft, tt.within); gone != tt.gone || !errors.Is(err, tt.refusal) || tt.refusal == nil && err != nil {
			t.Errorf("%s: %v, %v", name, gone, err)
		}
	}
}

// liveSys makes a folder the /sys of this thread, which ends with the test.
func liveSys(t *testing.T, sys string) {
	t.Helper()
	runtime.LockOSThread() // for good
	err := unix.Unshare(unix.CLONE_NEWNS)
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root for mounts")
	}
	fatal(t, errors.Join(err, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""), unix.Mount(sys, "/sys", "", unix.MS_BIND, "")))
}

func TestTheDeviceOfANetdevIsItsFunctionsOrASoftwareOneOnIt(t *testing.T) {
	hca, nic, bare := sysfs.MLX5(0), sysfs.NIC(3), sysfs.NIC(5)
	sf, vf, soft := sysfs.SF(hca, 2, 17), sysfs.VF(hca, 1, 10), sysfs.RXE(1, nic)
	away := sysfs.RXE(9, nic) // the kernel lists it, and sysfs has it no more
	tree, err := sysfs.New(t.TempDir())
	fatal(t, errors.Join(err, tree.Add(hca, sf, vf, nic, soft, bare), tree.AddRepresentor(hca, "ens11r0", "pf0vf0")))
	node := Node{Sys: tree.Sys(), Dev: tree.Dev()}
	liveSys(t, node.Sys)
	var links []Link
	for i, h := range []sysfs.HCA{away, soft, vf, sf, hca} {
		links = append(links, Link{uint32(i + 1), h.RDMA, h.NodeGUID})
	}
	n := fakeKernel(func(command int, asked map[uint16][]byte) ([][]byte, unix.Errno) {
		if command == nldevCmdGetCharDev && text(asked[nldevAttrCharDevType]) == "uverbs" {
			number := binary.NativeEndian.Uint32(asked[nl.RDMA_NLDEV_ATTR_DEV_INDEX])
			h := []sysfs.HCA{away, soft, vf, sf, hca}[number-1]
			return [][]byte{attribute(nldevAttrCharDevName, nl.ZeroTerminated(fmt.Sprint("uverbs", h.Number)))}, 0
		}
		return has(links...)(command, asked)
	}).open(t)
	for i, h := range []sysfs.HCA{away, soft, vf, sf, hca} {
		if i == 0 {
			continue
		}
		netdev := h.Netdev
		if h.Parent != "" {
			netdev = h.Parent
		}
		d, err := n.DeviceOf(node, netdev)
		want := []string{filepath.Join(node.Dev, "infiniband", fmt.Sprint("uverbs", h.Number))}
		if err != nil || d.Name != h.RDMA || d.Index == nil || *d.Index != uint32(i+1) || !slices.Equal(d.Netdevs, []string{netdev}) || !slices.Equal(d.CharDevices, want) {
			t.Errorf("%s: %+v, %v", netdev, d, err)
		}
	}
	for _, netdev := range []string{bare.Netdev, "ens11r0", "none"} {
		if d, err := n.DeviceOf(node, netdev); !errors.Is(err, ErrNoDevice) || !strings.HasSuffix(err.Error(), " on "+netdev) {
			t.Errorf("%s: %+v, %v", netdev, d, err)
		}
	}
	refuses := fakeKernel(func(int, map[uint16][]byte) ([][]byte, unix.Errno) { return nil, unix.EPERM }).open(t)
	if _, err := refuses.DeviceOf(node, hca.Netdev); !errors.Is(err, unix.EPERM) {
		t.Errorf("of a kernel that refuses: %v", err)
	}
}

func TestTheNodeOfANamespaceIsReadAndNotWritten(t *testing.T) {
	own, err := netns.Get()
	fatal(t, err)
	defer own.Close()
	node, done, err := NodeIn(own, "/fake/dev")
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root for a sysfs")
	}
	fatal(t, err)
	if names, err := readDir(node.class("net")); err != nil || !slices.Contains(names, "lo") || node.Dev != "/fake/dev" {
		t.Errorf("%+v has the links %q, %v", node, names, err)
	}
	if f, err := os.OpenFile(node.class("net", "lo", "mtu"), os.O_WRONLY, 0); !errors.Is(err, unix.EROFS) {
		t.Errorf("it can be written: %v", err)
		f.Close()
	}
	done()
	if _, err := os.Stat(node.class("net")); err == nil {
		t.Error("it is still open")
	}
}
