package netdev

import "github.com/vishvananda/netlink"

// DropAltName takes an alternative name from a link: the kernel renames none to
// a name that it has besides (dev_change_name).
// Equivalent to: `ip link property del dev $link altname $name`.
func (n *Namespace) DropAltName(link netlink.Link, name string) error {
	return wrap("drop alternative name "+name, n.handle.LinkDelAltName(link, name))
}
