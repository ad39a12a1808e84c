package netdev

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
)

// A Sysctl is a file below /proc/sys, "net/ipv4/conf/net1/arp_ignore", and what
// to write there. It is not a key with dots, because a netdev's name may
// contain some.
type Sysctl struct{ Path, Value string }

func (s Sysctl) file() string { return "/proc/sys/" + s.Path }

func (s Sysctl) set() error {
	if err := os.WriteFile(s.file(), []byte(s.Value), 0); err != nil {
		return fmt.Errorf("set %s to %q: %w", s.Path, s.Value, err)
	}
	return nil
}

// SetSysctls writes sysctls in the namespace: /proc/sys/net shows the one of
// the thread that opens it.
func (n *Namespace) SetSysctls(list []Sysctl) error {
	if len(list) == 0 {
		return nil
	}
	return n.Do(func() error {
		for _, s := range list {
			if err := s.set(); err != nil {
				return err
			}
		}
		return nil
	})
}

// KeepIPv6 keeps the IPv6 addresses of a link that is set down. The kernel drops
// them otherwise, unlike those of IPv4, and nobody would set them again.
func (n *Namespace) KeepIPv6(link netlink.Link) error {
	return n.SetSysctls([]Sysctl{{"net/ipv6/conf/" + link.Attrs().Name + "/keep_addr_on_down", "1"}})
}

// enableIPv6 lets a link have IPv6 addresses. A move resets a netdev's sysctls,
// and the namespace may have IPv6 off by default.
func (n *Namespace) enableIPv6(link netlink.Link) error {
	s := Sysctl{"net/ipv6/conf/" + link.Attrs().Name + "/disable_ipv6", "0"}
	return n.Do(func() error {
		is, err := os.ReadFile(s.file())
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // no IPv6 at all, as the kernel will say
		case err == nil && strings.TrimSpace(string(is)) == s.Value:
			return nil // it need not be writable
		}
		return s.set()
	})
}
