package netdev

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

// A Devconf holds the netdev's own sysctls. A move gives it the defaults of the
// target namespace; what the host had set is set again. The kernel reports
// those of IPv4 and IPv6 with the link, so that reading them costs next to
// nothing.
type Devconf struct {
	// IPv4 is net.ipv4.conf.<interface>: the value with index i is
	// IPV4_DEVCONF_<i+1> of <linux/ip.h>.
	IPv4 []int32 `json:"ipv4,omitempty"`
	// IPv6 is net.ipv6.conf.<interface>: DEVCONF_<i> of <linux/ipv6.h>.
	IPv6 []int32 `json:"ipv6,omitempty"`
	// Neighbours are net.ipv4.neigh.<interface> and net.ipv6.neigh.<interface>,
	// by family and name: "ipv4/app_solicit".
	Neighbours map[string]string `json:"neighbours,omitempty"`
}

// devconf reads them, from an answer to RTM_GETLINK and files.
func (n *Namespace) devconf(link netlink.Link, answer []byte) (d *Devconf, err error) {
	d = devconfOf(answer)
	d.Neighbours, err = n.readNeighbours(link.Attrs().Name)
	return d, err
}

func devconfOf(answer []byte) *Devconf {
	families := valueAt(ofLink(answer), unix.IFLA_AF_SPEC)
	return &Devconf{
		IPv4: numbersIn(valueAt(families, unix.AF_INET, unix.IFLA_INET_CONF)),
		IPv6: numbersIn(valueAt(families, unix.AF_INET6, unix.IFLA_INET6_CONF)),
	}
}

func numbersIn(data []byte) []int32 {
	list := make([]int32, len(data)/4)
	for i := range list {
		list[i] = int32(binary.NativeEndian.Uint32(data[4*i:]))
	}
	return list
}

// ipv4Changes are the numbers that make the IPv4 half of now that of d, each for
// inIPv4. It takes NET_ADMIN and no file (inet_set_link_af).
func (d *Devconf) ipv4Changes(now *Devconf) (changes []*nl.RtAttr) {
	const multicastForwarding = 1 // set by a routing daemon, see ip(7)
	for i, value := range d.IPv4 {
		if i < len(now.IPv4) && value != now.IPv4[i] && i != multicastForwarding {
			changes = append(changes, nl.NewRtAttr(i+1, nl.Uint32Attr(uint32(value))))
		}
	}
	return changes
}

// inIPv4 is the attribute of a link that sets such numbers.
func inIPv4(numbers ...*nl.RtAttr) *nl.RtAttr {
	return attribute(unix.IFLA_AF_SPEC, attribute(unix.AF_INET, attribute(unix.IFLA_INET_CONF, numbers...)))
}

// ipv6Names are the files of the IPv6 half, by index; "" for what is not a
// setting, and for the MTU: the kernel makes it the link's whenever that comes
// up (addrconf_notify).
func ipv6Names() []string {
	const temporaryPreferred = "temp_prefer" + "ed_lft" // as the kernel spells it
	return []string{
		"forwarding", "hop_limit", "", "accept_ra", "accept_redirects", "autoconf", "dad_transmits",
		"router_solicitations", "router_solicitation_interval", "router_solicitation_delay",
		"use_tempaddr", "temp_valid_lft", temporaryPreferred, "regen_max_retry", "max_desync_factor", "max_addresses",
		"force_mld_version", "accept_ra_defrtr", "accept_ra_pinfo", "accept_ra_rtr_pref", "router_probe_interval",
		"accept_ra_rt_info_max_plen", "proxy_ndp", "optimistic_dad", "accept_source_route", "", // mc_forwarding
		"disable_ipv6", "accept_dad", "force_tllao", "ndisc_notify", "mldv1_unsolicited_report_interval",
		"mldv2_unsolicited_report_interval", "suppress_frag_ndisc", "accept_ra_from_local", "use_optimistic", "accept_ra_mtu",
		"", "use_oif_addrs_only", "accept_ra_min_hop_limit", "ignore_routes_with_linkdown", // stable_secret is secret
		"drop_unicast_in_l2_multicast", "drop_unsolicited_na", "keep_addr_on_down", "router_solicitation_max_interval",
		"seg6_enabled", "seg6_require_hmac", "enhanced_dad", "addr_gen_mode", "disable_policy", "accept_ra_rt_info_min_plen",
		"ndisc_tclass", "rpl_seg_enabled", "ra_defrtr_metric", "ioam6_enabled", "ioam6_id", "", // ioam6_id_wide is cut off
		"ndisc_evict_nocarrier", "accept_untracked_na", "accept_ra_min_lft", "force_forwarding",
	}
}

// inSeconds are the values that the kernel reports in milliseconds and takes in
// seconds (ipv6_store_devconf, addrconf_sysctl).
func inSeconds(name string) bool {
	return slices.Contains([]string{"router_solicitation_interval", "router_solicitation_delay", "router_solicitation_max_interval", "router_probe_interval"}, name)
}

// ipv6Changes are the sysctls that make the IPv6 half of now that of d.
func (d *Devconf) ipv6Changes(now *Devconf, ifName string) (list []Sysctl) {
	names := ipv6Names()
	for i, value := range d.IPv6 {
		if i >= len(now.IPv6) || i >= len(names) || names[i] == "" || value == now.IPv6[i] {
			continue
		}
		if inSeconds(names[i]) {
			value /= 1000
		}
		list = append(list, Sysctl{"net/ipv6/conf/" + ifName + "/" + names[i], strconv.Itoa(int(value))})
	}
	return list
}

// neighbourFiles are the settings of one netdev in a neighbour table. Others say
// the same in other units. Netlink has them, too, but only those of all netdevs at
// once, which takes milliseconds where there are hundreds.
func neighbourFiles() []string {
	return []string{
		"anycast_delay", "app_solicit", "base_reachable_time_ms", "delay_first_probe_time", "gc_stale_time", "interval_probe_time_ms",
		"locktime", "mcast_resolicit", "mcast_solicit", "proxy_delay", "proxy_qlen", "retrans_time_ms", "ucast_solicit", "unres_qlen_bytes",
	}
}

// neighbourFolder is the path of the folder with a family's.
func neighbourFolder(family, ifName string) string { return "net/" + family + "/neigh/" + ifName }

// readNeighbours reads them; what this kernel does not have is left out.
func (n *Namespace) readNeighbours(ifName string) (found map[string]string, err error) {
	found = map[string]string{}
	err = n.Do(func() error {
		for _, family := range []string{"ipv4", "ipv6"} {
			folder, err := kernelfile.OpenFolder(Sysctl{Path: neighbourFolder(family, ifName)}.file())
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return err
			}
			defer folder.Close()
			for _, name := range neighbourFiles() {
				switch value, err := folder.Read(name); {
				case err == nil:
					found[family+"/"+name] = value
				case !errors.Is(err, fs.ErrNotExist):
					return err
				}
			}
		}
		return nil
	})
	return found, err
}

// RestoreSysctls sets those sysctls of a state that are files: a Restore by a
// program that may not write them has left them unset.
func (n *Namespace) RestoreSysctls(link netlink.Link, s State) error {
	answer, err := n.getLink(link.Attrs().Index)
	if err != nil {
		return err
	}
	return n.restoreDevconf(link, s.Devconf, answer)
}

// restoreDevconf sets what differs; IPv4's part is set with the link's settings.
// The rest are files, which a container may be forbidden to write.
func (n *Namespace) restoreDevconf(link netlink.Link, d *Devconf, answer []byte) error {
	if d == nil {
		return nil
	}
	name := link.Attrs().Name
	list := d.ipv6Changes(devconfOf(answer), name)
	if len(d.Neighbours) > 0 {
		now, err := n.readNeighbours(name)
		if err != nil {
			return err
		}
		for file, value := range d.Neighbours {
			if have, ok := now[file]; ok && have != value {
				family, file, _ := strings.Cut(file, "/")
				list = append(list, Sysctl{neighbourFolder(family, name) + "/" + file, value})
			}
		}
	}
	if len(list) == 0 {
		return nil
	}
	return n.Do(func() error {
		var errs []error
		for _, s := range list {
			errs = append(errs, s.set())
		}
		return errors.Join(errs...)
	})
}
