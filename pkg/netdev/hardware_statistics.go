package netdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HardwareStatistics reads what a netdev's driver counts beside what all netdevs
// do, such as pause frames by priority. The names are the driver's. It holds the
// RTNL for as long as the driver takes, with mlx5 some milliseconds, and takes
// no privilege in the netdev's namespace. A driver that counts nothing has none.
// Equivalent to: `ethtool -S $name`.
func (n *Namespace) HardwareStatistics(name string) ([]Counter, error) {
	fd, err := n.ioctlSocket()
	if err != nil {
		return nil, fmt.Errorf("open a socket in %s: %w", n.Path, err)
	}
	statistics, err := hardwareStatistics(fd, name)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what the driver of %s counts: %w", name, err)
	}
	return statistics, nil
}

const (
	// nameSize is ETH_GSTRING_LEN of <linux/ethtool.h>: the room for a name.
	nameSize = 32
	// mostStatistics bounds how many a driver may have; mlx5 has some thousand.
	mostStatistics = 1 << 16

	// Where the data is in struct ethtool_gstrings and struct ethtool_stats.
	namesAt, numbersAt = 12, 8
)

func hardwareStatistics(fd int, name string) ([]Counter, error) {
	count := struct { // struct ethtool_sset_info, with room for the one set
		command, _ uint32
		sets       uint64
		length     uint64
	}{command: unix.ETHTOOL_GSSET_INFO, sets: 1 << ethSSStats}
	if err := ethtoolIoctl(fd, name, unsafe.Pointer(&count)); err != nil {
		return nil, err
	}
	length := int(binary.NativeEndian.Uint32((*[8]byte)(unsafe.Pointer(&count.length))[:]))
	if count.sets == 0 || length == 0 {
		return nil, nil
	}
	if length > mostStatistics {
		return nil, fmt.Errorf("it has %d statistics", length)
	}
	names, err := newIoctlRoom(namesAt + length*nameSize)
	if err != nil {
		return nil, err
	}
	defer names.free()
	numbers, err := newIoctlRoom(numbersAt + length*8)
	if err != nil {
		return nil, err
	}
	defer numbers.free()
	names.put(unix.ETHTOOL_GSTRINGS, ethSSStats, uint32(length))
	numbers.put(unix.ETHTOOL_GSTATS, uint32(length))
	for _, room := range []ioctlRoom{names, numbers} {
		if err := ethtoolIoctl(fd, name, unsafe.Pointer(&room[0])); err != nil {
			return nil, err
		}
	}
	// The driver may have other ones with each change of the channels.
	if names.at(2) != uint32(length) || numbers.at(1) != uint32(length) {
		return nil, errors.New("they changed while they were read")
	}
	statistics := make([]Counter, length)
	for i := range statistics {
		statistics[i] = Counter{
			unix.ByteSliceToString(names[namesAt+i*nameSize:][:nameSize]), binary.NativeEndian.Uint64(numbers[numbersAt+i*8:]),
		}
	}
	return statistics, nil
}

// ethSSStats is ETH_SS_STATS of <linux/ethtool.h>.
const ethSSStats = 1

// An ioctlRoom is memory for an answer of which the caller cannot say how long
// it may be: the kernel writes as many statistics as there are by now
// (ethtool_get_stats in net/ethtool/ioctl.c). Behind it is a page that nothing
// may write to, so that too long an answer is EFAULT.
type ioctlRoom []byte

func newIoctlRoom(size int) (ioctlRoom, error) {
	page := unix.Getpagesize()
	size = (size + page - 1) / page * page
	room, err := unix.Mmap(-1, 0, size+page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, err
	}
	if err := unix.Mprotect(room[size:], unix.PROT_NONE); err != nil {
		_ = unix.Munmap(room)
		return nil, err
	}
	return room, nil
}

func (r ioctlRoom) free() { _ = unix.Munmap(r) }

// put writes numbers of 32 bits from the beginning on, at reads one.
func (r ioctlRoom) put(numbers ...uint32) {
	for i, n := range numbers {
		binary.NativeEndian.PutUint32(r[4*i:], n)
	}
}

func (r ioctlRoom) at(i int) uint32 { return binary.NativeEndian.Uint32(r[4*i:]) }

// ethtoolIoctl is SIOCETHTOOL for a netdev of the socket's namespace.
func ethtoolIoctl(fd int, name string, argument unsafe.Pointer) error {
	request := struct { // struct ifreq
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte // the union's longest member has 24
	}{data: argument}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return errno
	}
	return nil
}
