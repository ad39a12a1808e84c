package discovery

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// An Addressing says how pods get the addresses of their rails.
type Addressing struct {
	// IPAM is the type of the IPAM plugin, or Keep.
	IPAM string
	// Range is a subnet for all rails, or one with an N in it, which stands for the
	// number of the rail's network, from 1.
	Range string
	// Gateway is a router's address, with an N like Range; First for the first
	// address of the range, None for no router. "" is as in the guide: First for a
	// range a rail, which is not excluded, as nobody said that there is a router.
	Gateway string
	// MTU is set in pods; 0 leaves the host's.
	MTU int
}

// The types of IPAM. Keep takes the host's addresses along.
const (
	Whereabouts = "whereabouts"
	HostLocal   = "host-local"
	DHCP        = "dhcp"
	Keep        = "keep"
)

// Words for a Gateway.
const (
	First = "first"
	None  = "none"
)

// GuideRange is that of the operator's guide.
const GuideRange = "172.31.N.0/24"

// smallestMTU is that of IPv4 (RFC 791), largest what the kernel takes.
const (
	smallestMTU = 68
	largestMTU  = 65535
)

// oneSubnet tells whether all rails share a subnet.
func (a Addressing) oneSubnet() bool { return a.hasRange() && !strings.Contains(a.Range, "N") }

func (a Addressing) hasRange() bool { return a.IPAM == Whereabouts || a.IPAM == HostLocal }

// Check says what is wrong with it, for as many networks as there may be.
func (a Addressing) Check() error {
	switch a.IPAM {
	case Whereabouts, HostLocal, DHCP, Keep:
	default:
		return &InputError{fmt.Errorf("--ipam %q: use %s, %s, %s or %s", a.IPAM, Whereabouts, HostLocal, DHCP, Keep)}
	}
	if a.MTU != 0 && (a.MTU < smallestMTU || a.MTU > largestMTU) {
		return &InputError{fmt.Errorf("--mtu %d: use a number from %d to %d, or 0 for the host's", a.MTU, smallestMTU, largestMTU)}
	}
	_, err := a.lease(1)
	return err
}

// A lease is what the IPAM plugin of a network gives out.
type lease struct {
	subnet  netip.Prefix
	gateway netip.Addr // invalid for none
	exclude bool       // the gateway
}

// lease is that of a network, from 1.
func (a Addressing) lease(number int) (l lease, err error) {
	if !a.hasRange() {
		return l, nil
	}
	in := func(pattern string) string { return strings.ReplaceAll(pattern, "N", strconv.Itoa(number)) }
	if l.subnet, err = netip.ParsePrefix(in(a.Range)); err != nil {
		return l, &InputError{fmt.Errorf("--range %s: use a subnet such as 192.168.0.0/24, or one a rail such as %s: %w", a.Range, GuideRange, err)}
	}
	if l.subnet != l.subnet.Masked() {
		return l, &InputError{fmt.Errorf("--range %s: %s has host bits; do you mean %s?", a.Range, l.subnet, l.subnet.Masked())}
	}
	switch {
	case a.Gateway == None, a.Gateway == "" && a.oneSubnet():
		return l, nil
	case a.Gateway == "", a.Gateway == First:
		l.gateway = l.subnet.Addr().Next()
	default:
		if l.gateway, err = netip.ParseAddr(in(a.Gateway)); err != nil {
			return l, &InputError{fmt.Errorf("--gateway %s: use %s, %s, or an address, with an N as in --range: %w", a.Gateway, First, None, err)}
		}
	}
	if !l.subnet.Contains(l.gateway) {
		return l, &InputError{fmt.Errorf("--gateway %s: %s is not in %s", a.Gateway, l.gateway, l.subnet)}
	}
	l.exclude = a.Gateway != ""
	return l, nil
}

// ipam is the "ipam" of a network, nil for none.
func (a Addressing) ipam(number int) (object, error) {
	l, err := a.lease(number)
	if err != nil || a.IPAM == Keep {
		return nil, err
	}
	o := object{{"type", a.IPAM}}
	switch a.IPAM {
	case Whereabouts:
		o = append(o, field{"range", l.subnet.String()})
	case HostLocal:
		o = append(o, field{"subnet", l.subnet.String()})
	}
	if l.gateway.IsValid() {
		o = append(o, field{"gateway", l.gateway.String()})
		if l.exclude && a.IPAM == Whereabouts { // host-local leaves it out by itself
			o = append(o, field{"exclude", []string{netip.PrefixFrom(l.gateway, l.gateway.BitLen()).String()}})
		}
	}
	return o, nil
}
