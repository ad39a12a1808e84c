package netdev

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A Counter is one of the things that a netdev counts, or the RDMA device on it,
// by the kernel's name.
type Counter struct {
	Name  string `json:"name"`
	Value uint64 `json:"value"`
}

// statisticNames are the fields of struct rtnl_link_stats64 in their order
// (<linux/if_link.h>). They are also the files of /sys/class/net/*/statistics,
// each of which has the driver count everything anew: one message does it once.
func statisticNames() []string {
	return []string{
		"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "multicast", "collisions",
		"rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors", "rx_missed_errors",
		"tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors",
		"rx_compressed", "tx_compressed", "rx_nohandler", "rx_otherhost_dropped",
	}
}

// A StatisticsReader reads the statistics of netdevs again and again, wherever
// they are, without entering another namespace. It is for one goroutine.
type StatisticsReader struct {
	namespace *Namespace
	names     []string
	places    map[string]place // of netdevs in other namespaces, by the caller's key
}

// A place is another namespace, by its number in the reader's, and an ifindex
// there.
type place struct {
	number int32
	index  int
}

// StatisticsReader starts a reader. The namespace must stay open.
func (n *Namespace) StatisticsReader() *StatisticsReader {
	return &StatisticsReader{namespace: n, names: statisticNames(), places: map[string]place{}}
}

// Here reads the statistics of a netdev of the reader's namespace.
func (r *StatisticsReader) Here(name string) ([]Counter, error) {
	answer, err := r.ask(0, nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	if err != nil {
		return nil, fmt.Errorf("read the statistics of %s: %w", name, err)
	}
	return r.parse(answer), nil
}

// Elsewhere reads the statistics of netdevs in other namespaces; wanted tells
// each from other netdevs. One that is not found is not in the answer. Where a
// netdev was is asked first, and only if one is not there any more are all
// namespaces searched that have a number in the reader's. It takes NET_ADMIN
// there, and Linux 5.0: see LinksElsewhere.
func (r *StatisticsReader) Elsewhere(ctx context.Context, wanted map[string]func(*netlink.LinkAttrs) bool) (map[string][]Counter, error) {
	found := map[string][]Counter{}
	for key := range r.places {
		if wanted[key] == nil {
			delete(r.places, key)
		}
	}
	for key, is := range wanted {
		if at, ok := r.places[key]; ok {
			if statistics := r.at(at, is); statistics != nil {
				found[key] = statistics
				continue
			}
			delete(r.places, key)
		}
	}
	if len(found) == len(wanted) {
		return found, nil
	}
	if err := r.search(ctx, wanted); err != nil {
		return found, err
	}
	for key, at := range r.places {
		if found[key] == nil {
			if statistics := r.at(at, wanted[key]); statistics != nil {
				found[key] = statistics
			}
		}
	}
	return found, nil
}

// search notes the places of those wanted netdevs that have none.
func (r *StatisticsReader) search(ctx context.Context, wanted map[string]func(*netlink.LinkAttrs) bool) error {
	numbers, err := r.namespace.namespaceNumbers(ctx)
	if err != nil {
		return fmt.Errorf("list the namespaces known in %s: %w", r.namespace.Path, err)
	}
	for _, number := range numbers {
		answers, known, err := r.namespace.linksIn(ctx, number)
		if err != nil || !known {
			return err
		}
		for _, link := range parseLinks(answers) {
			for key, is := range wanted {
				if _, ok := r.places[key]; !ok && is(link.Attrs()) {
					r.places[key] = place{number, link.Attrs().Index}
				}
			}
		}
	}
	return nil
}

// at reads the statistics of a netdev in another namespace, nil if there is
// another one by now, or none.
func (r *StatisticsReader) at(p place, is func(*netlink.LinkAttrs) bool) []Counter {
	answer, err := r.ask(p.index, targetNamespace(p.number))
	if err != nil {
		return nil
	}
	link, err := netlink.LinkDeserialize(nil, answer)
	if err != nil || !is(link.Attrs()) {
		return nil
	}
	return r.parse(answer)
}

// ask is getLink with statistics.
func (r *StatisticsReader) ask(index int, which nl.NetlinkRequestData) ([]byte, error) {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	answers, err := r.namespace.route.Request(unix.RTM_GETLINK, 0, msg, which)
	if err == nil && len(answers) != 1 {
		err = unix.EBADMSG
	}
	if err != nil {
		return nil, err
	}
	return answers[0], nil
}

// parse reads those statistics that this kernel has.
func (r *StatisticsReader) parse(answer []byte) []Counter {
	numbers := valueAt(ofLink(answer), unix.IFLA_STATS64)
	statistics := make([]Counter, 0, len(r.names))
	for i, name := range r.names {
		if len(numbers) < 8*(i+1) {
			break
		}
		statistics = append(statistics, Counter{name, binary.NativeEndian.Uint64(numbers[8*i:])})
	}
	return statistics
}

// IsAway tells whether a link of another namespace is a netdev of hardware.
func (id Identity) IsAway(a *netlink.LinkAttrs) bool {
	return id.Physical() && id.compareHardware(a) != another
}
