package netdev

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"unicode/utf8"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// A State is what the host configured on a netdev and a move takes away: the
// kernel drops addresses and routes, and whoever holds the netdev meanwhile
// may change the rest.
type State struct {
	Name string `json:"name"`
	MTU  int    `json:"mtu"` // bytes
	MAC  string `json:"mac"`
	Up   bool   `json:"up"`
	// Promiscuous and AllMulticast were asked for by name, with `ip link`: the
	// kernel counts those who need it, such as a bridge, by itself.
	Promiscuous  bool      `json:"promiscuous,omitempty"`
	AllMulticast bool      `json:"allMulticast,omitempty"`
	Alias        string    `json:"alias,omitempty"`
	AltNames     []string  `json:"altNames,omitempty"`
	Addresses    []Address `json:"addresses,omitempty"`
	Routes       []Route   `json:"routes,omitempty"`

	// What follows is not in the records of earlier versions: what is not there
	// is not known, and is left as it is.
	Settings *Settings `json:"settings,omitempty"`
	Devconf  *Devconf  `json:"devconf,omitempty"`
	Ethtool  ethtool   `json:"ethtool,omitempty"`
	Qdiscs   []Qdisc   `json:"qdiscs,omitempty"`
	// Neighbours are those that the host has set to stay.
	Neighbours []Neighbour `json:"neighbours,omitempty"`
	// Uppers are the host's netdevs on top of it, by name. Others that are there
	// when it comes back are those of who had it.
	Uppers []string `json:"uppers"`
	// Stacked are those and the ones that were on top of it in other namespaces, by
	// what a new name does not change. Records of earlier versions have none.
	Stacked []Stacked `json:"stacked,omitempty"`
	// RawAlias is the alias where that is no UTF-8, which JSON would change.
	RawAlias []byte `json:"rawAlias,omitempty"`
}

// flags are the link flags that the state sets, and which it knows of at all.
func (s State) flags() (set, which uint32) {
	for flag, is := range map[uint32]bool{unix.IFF_UP: s.Up, unix.IFF_PROMISC: s.Promiscuous, unix.IFF_ALLMULTI: s.AllMulticast} {
		which |= flag
		if is {
			set |= flag
		}
	}
	if s.Settings != nil {
		return set | s.Settings.Flags, which | settable
	}
	return set, which
}

// Tables are what a namespace's tables have of a link.
type Tables struct {
	link      netlink.Link
	lasting   []Address
	temporary []netip.Prefix
	// Routes are all of the namespace's, as by AllRoutes.
	Routes []Way
}

// Tables reads them, of several links at once: the kernel lists those of all links.
func (n *Namespace) Tables(ctx context.Context, links ...netlink.Link) (all []*Tables, err error) {
	addresses, err := n.allAddresses(ctx)
	if err != nil {
		return nil, err
	}
	routes, err := n.AllRoutes(ctx)
	if err != nil {
		return nil, err
	}
	for _, link := range links {
		lasting, temporary := addressesOf(link, addresses)
		all = append(all, &Tables{link, lasting, temporary, routes})
	}
	return all, nil
}

// Addresses are those by which others may reach the host through the link, leased
// ones included.
func (t *Tables) Addresses() (all []netip.Addr) {
	for _, a := range t.lasting {
		all = append(all, a.Prefix.Addr())
	}
	for _, prefix := range t.temporary {
		all = append(all, prefix.Addr())
	}
	return all
}

// State reads the state of a link in this namespace.
func (n *Namespace) State(ctx context.Context, link netlink.Link) (State, error) {
	t, err := n.Tables(ctx, link)
	if err != nil {
		return State{}, err
	}
	return n.StateBy(ctx, t[0])
}

// StateBy is State of the tables' link, without reading those again.
func (n *Namespace) StateBy(ctx context.Context, t *Tables) (State, error) {
	link, a := t.link, t.link.Attrs()
	s := State{
		Name: a.Name, MTU: a.MTU, MAC: a.HardwareAddr.String(), Alias: a.Alias, AltNames: a.AltNames,
		Up: a.RawFlags&unix.IFF_UP != 0, Promiscuous: a.RawFlags&unix.IFF_PROMISC != 0, AllMulticast: a.RawFlags&unix.IFF_ALLMULTI != 0,
	}
	if !utf8.ValidString(a.Alias) {
		s.Alias, s.RawAlias = "", []byte(a.Alias)
	}
	// Where links have a table of their own (VRF), the kernel's routes for link-local
	// and for multicast addresses are in it.
	routes := slices.DeleteFunc(through(link, t.Routes), func(r Route) bool {
		return isLinkLocal6(r.Dst.Addr()) || r.Protocol == unix.RTPROT_KERNEL && r.Dst.Addr().IsMulticast()
	})
	answer, err := n.getLink(a.Index)
	if err != nil {
		return State{}, fmt.Errorf("look up %s: %w", a.Name, err)
	}
	s.Settings = settingsOf(answer)
	if s.Devconf, err = n.devconf(link, answer); err != nil {
		return State{}, err
	}
	if s.Ethtool, err = n.readEthtool(link); err != nil {
		return State{}, err
	}
	if s.Qdiscs, err = n.qdiscs(ctx, link); err != nil {
		return State{}, err
	}
	if s.Neighbours, err = n.neighbours(ctx, link); err != nil {
		return State{}, err
	}
	for _, address := range t.lasting {
		// The route of an address with a metric of its own is like one that
		// somebody else added.
		address.NoPrefixRoute = address.NoPrefixRoute || slices.ContainsFunc(routes, func(r Route) bool {
			return r.Table == 0 && r.Protocol == unix.RTPROT_KERNEL && r.Dst == address.Prefix.Masked() && r.Priority != kernelMetric(address.Prefix)
		})
		s.Addresses = append(s.Addresses, address)
	}
	for _, r := range routes {
		if r.Protocol != unix.RTPROT_RA && !s.comesWithAddress(r) && !s.needsOneOf(t.temporary, r) {
			s.Routes = append(s.Routes, r)
		}
	}
	return s, nil
}

// comesWithAddress tells whether a route is one that the kernel adds for an
// address. Its protocol does not tell: whoever adds such a route in place of
// the kernel says that it is the kernel's.
func (s State) comesWithAddress(r Route) bool {
	return r.Table == 0 && r.Protocol == unix.RTPROT_KERNEL && !slices.ContainsFunc(s.Addresses, func(a Address) bool {
		return a.NoPrefixRoute && a.Prefix.Masked() == r.Dst
	})
}

// needsOneOf tells whether a route needs an address that is not kept: the
// kernel refuses it without, and whoever sets the one sets the other.
func (s State) needsOneOf(temporary []netip.Prefix, r Route) bool {
	reached := slices.ContainsFunc(s.Addresses, func(a Address) bool {
		return a.Prefix.Contains(r.Gateway) || a.Peer.Contains(r.Gateway)
	})
	return slices.ContainsFunc(temporary, func(p netip.Prefix) bool {
		return p.Addr() == r.Source || !reached && !r.OnLink && p.Contains(r.Gateway)
	})
}

// Restore gives a link of this namespace the recorded state back. from is
// where the link with the identity is now, which may be this namespace. Every
// item is tried; the error joins what keeps the netdev from being back, and clean.
//
// When the recorded name is taken by another link, the netdev still comes
// back, under the name it has or one that the kernel picks: taken says who has
// it, and RestoreNames puts it right later. unset is what of its alternative
// names, addresses and routes the host does not take back as it is now: it may
// have changed meanwhile. Whatever else the driver or the kernel does not take
// back is logged: no pod should wait for any of it.
func (n *Namespace) Restore(ctx context.Context, from *Namespace, link netlink.Link, id Identity, s State, log *slog.Logger) (taken *NameTaken, unset, err error) {
	if from.ID != n.ID {
		from.deleteUppers(link, slices.Values([]*Namespace{from}), State{Stacked: s.Stacked}, log)
	}
	errs := []error{n.dropAltNames(from, link, s)}
	came := ""
	if from.ID != n.ID {
		if came, err = n.takeBack(ctx, from, link, id, s); err != nil {
			return nil, nil, errors.Join(append(errs, fmt.Errorf("bring back to the host: %w", err))...)
		}
	}
	back, err := n.Link(ctx, id, n)
	if err != nil || back == nil {
		errs = append(errs, errors.New("not on the host after the move"), err)
		if err == nil && came != "" {
			errs = append(errs, n.sendBack(came, from))
		}
		return nil, nil, errors.Join(errs...)
	}
	taken, err = n.putRight(back, s, log)
	errs = append(errs, err)
	if back, err = n.LinkAt(back.Attrs().Index); err != nil {
		return nil, nil, errors.Join(append(errs, err)...)
	}
	if taken != nil {
		taken.Has = back.Attrs().Name
	}
	// What is on top of it is not the host's: the NIC has only just come, or it
	// is still down as the kernel brought it. Of one that is up, the host or its
	// pods may have put that there since.
	unused := from.ID != n.ID || link.Attrs().Flags&net.FlagUp == 0
	if s.Uppers != nil && unused {
		n.deleteUppers(back, slices.Values([]*Namespace{n}), s, log)
	}
	// Now nobody elsewhere can put more on it. Looking for what is there takes
	// about as long as all the rest, so it is done in parallel.
	surveyed := make(chan struct{})
	go func() {
		defer close(surveyed)
		if !unused {
			return
		}
		ctx, cancel := context.WithTimeout(ctx, surveyWait)
		defer cancel()
		n.deleteUppers(back, n.uppersElsewhere(ctx, back), State{Stacked: s.Stacked}, log)
	}()
	missing, held := n.missingAltNames(back, s)
	if taken == nil {
		taken = held
	}
	errs = append(errs, n.open(ctx, back, s, log))
	unset = errors.Join(n.addAltNames(back, missing), n.AddAddresses(back, s.Addresses), n.AddRoutes(back, s.Routes))
	<-surveyed
	return taken, unset, errors.Join(errs...)
}

// RestoreNames gives a link of this namespace its recorded names, if they are
// free, and touches nothing else: the host may have used it for long. taken is as
// Restore's.
func (n *Namespace) RestoreNames(ctx context.Context, link netlink.Link, id Identity, s State) (taken *NameTaken, err error) {
	name, taken, err := n.nameFor(n, link, s)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := n.rename(ctx, link, name); err != nil {
			return nil, err
		}
		if link, err = n.Link(ctx, id, n); link == nil || err != nil {
			return nil, err
		}
	}
	missing, held := n.missingAltNames(link, s)
	if taken == nil {
		taken = held
	}
	return taken, n.addAltNames(link, missing)
}

// open restores the settings of a link that is back and sets it up, if it was
// up: last of all, so that drivers need not open it twice.
func (n *Namespace) open(ctx context.Context, back netlink.Link, s State, log *slog.Logger) error {
	answer, err := n.getLink(back.Attrs().Index)
	if err != nil {
		return err
	}
	errs := []error{n.Detach(back, append(xdpOf(answer), n.tcx(back)...))} // XDP bounds the MTU
	warn := func(err error) {
		if err != nil {
			log.Warn("not all of the NIC's settings were restored", "err", err)
		}
	}
	refused := n.restoreEthtool(back, s.Ethtool)
	warn(n.restoreSettings(back, s, answer))
	warn(n.restoreDevconf(back, s.Devconf, answer))
	c := Change{}
	if back.Attrs().MTU != s.MTU {
		c.MTU = s.MTU
	}
	c.Flags, c.Which = s.flags()
	err = n.Apply(back.Attrs().Index, c)
	if err != nil && c.MTU != 0 { // what it is on may have a smaller one by now
		warn(wrap("set MTU and flags", err))
		c.MTU = 0
		err = n.Apply(back.Attrs().Index, c)
	}
	warn(wrap("set its flags", err)) // up: what it is on may be down
	if refused != nil {              // some drivers want the link up
		warn(n.restoreEthtool(back, s.Ethtool))
	}
	warn(n.restoreQdiscs(ctx, back, s.Qdiscs))
	warn(n.addNeighbours(back, s.Neighbours))
	return errors.Join(errs...)
}

// restoreSettings is one message, if anything differs at all. What the kernel does
// not take must not keep the rest from being set: newer ones have bounds for a
// message that a file of sysctl does not have.
func (n *Namespace) restoreSettings(back netlink.Link, s State, answer []byte) error {
	var changes, ipv4 []*nl.RtAttr
	if s.Settings != nil {
		changes = s.Settings.changes(settingsOf(answer))
		if kind := s.Settings.kindChange(answer); kind != nil {
			changes = append(changes, kind)
		}
	}
	if s.Devconf != nil {
		ipv4 = s.Devconf.ipv4Changes(devconfOf(answer))
	}
	together := changes
	if len(ipv4) > 0 {
		together = append(slices.Clip(changes), inIPv4(ipv4...))
	}
	if len(together) == 0 || n.Apply(back.Attrs().Index, Change{Settings: together}) == nil {
		return nil
	}
	for _, number := range ipv4 {
		changes = append(changes, inIPv4(number))
	}
	var errs []error
	for _, c := range changes {
		errs = append(errs, n.Apply(back.Attrs().Index, Change{Settings: []*nl.RtAttr{c}}))
	}
	return wrap("set its settings", errors.Join(errs...))
}

// Bare is a state without addresses and routes, which the host's network
// manager will bring.
func (s State) Bare() State {
	s.Addresses, s.Routes = nil, nil
	return s
}

// IsBare tells whether there is nothing of that.
func (s State) IsBare() bool { return len(s.Addresses) == 0 && len(s.Routes) == 0 }

// With is a state with the addresses and routes of another one that it has not.
func (s State) With(other State) State {
	addresses, routes := s.lacking(other)
	s.Addresses, s.Routes = slices.Concat(s.Addresses, addresses), slices.Concat(s.Routes, routes)
	return s
}

// Lacking is a state of a link of this namespace, of its addresses and routes only
// those that the link has not.
func (n *Namespace) Lacking(ctx context.Context, link netlink.Link, s State) (State, error) {
	now, err := n.State(ctx, link)
	if err == nil {
		s.Addresses, s.Routes = now.lacking(s)
	}
	return s, err
}

// lacking are the addresses and routes of another state that this one has not. A
// route to the same destination is the same, whatever its metric: a network
// manager may choose another each time.
func (s State) lacking(other State) ([]Address, []Route) {
	addresses := slices.DeleteFunc(slices.Clone(other.Addresses), func(a Address) bool {
		return slices.ContainsFunc(s.Addresses, func(have Address) bool { return have.Prefix == a.Prefix })
	})
	routes := slices.DeleteFunc(slices.Clone(other.Routes), func(r Route) bool {
		return slices.ContainsFunc(s.Routes, func(have Route) bool {
			return have.Dst == r.Dst && have.Table == r.Table && have.TOS == r.TOS && have.From == r.From
		})
	})
	return addresses, routes
}

// AddMissing adds the addresses and routes of a state that a link of this
// namespace lacks; with ifBare only if it has no address at all. missing says how
// many there were.
func (n *Namespace) AddMissing(ctx context.Context, link netlink.Link, s State, ifBare bool) (missing int, err error) {
	now, err := n.State(ctx, link)
	if err != nil || ifBare && len(now.Addresses) > 0 {
		return 0, err
	}
	addresses, routes := now.lacking(s)
	return len(addresses) + len(routes), errors.Join(n.AddAddresses(link, addresses), n.AddRoutes(link, routes))
}

// A MACRefusedError says that a netdev does not take the MAC address back that it is
// told by, and is where it was: another one has the address by now.
type MACRefusedError struct {
	Has    string // its address now
	wanted string
	err    error
}

func (e *MACRefusedError) Error() string {
	return fmt.Sprintf("set its MAC address %s: %v", e.wanted, e.err)
}

func (e *MACRefusedError) Unwrap() error { return e.err }

// A NameTaken says that a netdev could not have its own name on the host.
type NameTaken struct {
	Name   string // its own
	Has    string // what it is called instead
	Holder string // what link has the name
}

func (t *NameTaken) String() string {
	return fmt.Sprintf("its name %s is taken by %s; it is on the host as %s", t.Name, t.Holder, t.Has)
}

func holderOf(link netlink.Link) string {
	return fmt.Sprintf("another link (%s, ifindex %d)", link.Type(), link.Attrs().Index)
}

// missingAltNames are the alternative names that a link of this namespace
// should have but lacks. One that another link has by now is owed, as its name
// may be: it must not keep the attachment from ending.
func (n *Namespace) missingAltNames(back netlink.Link, s State) (missing []string, taken *NameTaken) {
	a := back.Attrs()
	for _, name := range s.AltNames {
		if slices.Contains(a.AltNames, name) {
			continue
		}
		if holder, err := n.linkNamed(name); err == nil && holder != nil && holder.Attrs().Index != a.Index {
			taken = &NameTaken{Name: name, Has: a.Name, Holder: holderOf(holder)}
			continue
		}
		missing = append(missing, name)
	}
	return missing, taken
}

// nameFor is what a link shall be called here, "" to leave its name.
func (n *Namespace) nameFor(from *Namespace, link netlink.Link, s State) (name string, taken *NameTaken, err error) {
	a, away := link.Attrs(), from.ID != n.ID
	if !away && a.Name == s.Name {
		return "", nil, nil
	}
	holder, err := n.linkNamed(s.Name)
	if err == nil && holder != nil && (away || holder.Attrs().Index != a.Index) {
		taken = &NameTaken{Name: s.Name, Holder: holderOf(holder)}
	}
	switch {
	case err == nil && taken == nil:
		return s.Name, nil, nil
	case away:
		return fallbackName, taken, err
	}
	return "", taken, err
}

// moveTries is how often a NIC is sent home from a pod that has a name of the host's
// put on it each time.
const moveTries = 10

// takeBack moves a link home, and gives it there the name and the MAC address that
// are recorded, as far as it can: whoever has the link may change it until it has
// left, so putRight looks again. The move closes it. came is the name that what was
// moved has here, "" if that is not known.
func (n *Namespace) takeBack(ctx context.Context, from *Namespace, link netlink.Link, id Identity, s State) (came string, err error) {
	// What was on top of it may have put another MAC address on it when it went.
	link, err = from.LinkAt(link.Attrs().Index)
	if err != nil {
		return "", err
	}
	a := link.Attrs()
	c := Change{Namespace: n}
	c.Name, _, _ = n.nameFor(from, link, s)
	// On a move the kernel announces the netdev before the same message
	// renames it (do_setlink, __dev_change_net_namespace). It should appear
	// under its own name: that is when the host acts on a new netdev, and
	// by its name (sysctl.d, ifupdown, other udev rules). If the pod has
	// another link of that name, the move renames it.
	if c.Name != fallbackName {
		_ = from.change(a.Index, Change{Name: c.Name})
	}
	if mac, err := net.ParseMAC(s.MAC); err == nil {
		// Tried where it is: the message that moves it could fail halfway. It has
		// the address as well, in case somebody there changes it back.
		differs := a.HardwareAddr.String() != s.MAC
		if differs {
			err = from.change(a.Index, Change{MAC: mac})
		}
		switch {
		case err != nil && id.ToldByMAC():
			return "", &MACRefusedError{Has: a.HardwareAddr.String(), wanted: s.MAC, err: err}
		case err == nil && (differs || id.ToldByMAC()):
			c.MAC = mac
		}
	}
	if a.MTU != s.MTU {
		// Somebody who takes the NIC from the host at once gets it with its own
		// MTU. A program of the pod's may forbid that: then open sets it.
		c.MTU = s.MTU
	}
	for range moveTries {
		if err = from.Apply(a.Index, c); err == nil && c.Name != fallbackName {
			return c.Name, nil
		}
		if err == nil {
			return "", nil
		}
		if back, lookErr := n.Link(ctx, id, n); back != nil && lookErr == nil {
			return "", nil // the move comes first
		}
		switch {
		case errors.Is(err, unix.EEXIST): // a name of it is taken here, since we looked
			now, lookErr := from.LinkAt(a.Index)
			if lookErr != nil {
				return "", lookErr
			}
			c.Name, _, _ = n.nameFor(from, now, s)
			_ = n.dropAltNames(from, now, s) // the next try tells
		case c.MTU != 0:
			c.MTU = 0
		default:
			return "", err
		}
	}
	return "", err
}

// sendBack moves a link of a name away, to where it came from in the NIC's place: who
// had the NIC gave another link its ifindex at that moment. The host must not have
// that under the NIC's name.
func (n *Namespace) sendBack(name string, from *Namespace) error {
	link, err := n.linkNamed(name)
	if link == nil || err != nil || link.Attrs().Name != name {
		return err
	}
	return wrap("send back what came in its place", n.Apply(link.Attrs().Index, Change{Namespace: from, Name: fallbackName}))
}

// putRight gives a link of this namespace its recorded name, MAC address and alias,
// whatever its holder did to it until it came: here he cannot. taken is as
// Restore's.
func (n *Namespace) putRight(back netlink.Link, s State, log *slog.Logger) (taken *NameTaken, err error) {
	a := back.Attrs()
	errs := []error{n.dropAltNames(n, back, s)}
	name, taken, err := n.nameFor(n, back, s)
	if err == nil && name != "" {
		err = n.inSpiteOfUdev(a.Index, Change{Name: name}, n.change)
	}
	errs = append(errs, wrap("rename it to "+s.Name, err))
	if mac, err := net.ParseMAC(s.MAC); err == nil && a.HardwareAddr.String() != s.MAC {
		// A virtual function whose address the host has changed, for one.
		if err := n.change(a.Index, Change{MAC: mac}); err != nil {
			log.Warn("the NIC does not take its MAC address back", "mac", s.MAC, "has", a.HardwareAddr.String(), "err", err)
		}
	}
	if alias := s.Alias + string(s.RawAlias); a.Alias != alias {
		if err := n.Apply(a.Index, Change{Alias: &alias}); err != nil { // an earlier version wrote it down
			log.Warn("not all of the NIC's settings were restored", "err", wrap("set its alias", err))
		}
	}
	return taken, errors.Join(errs...)
}

// inSpiteOfUdev makes a change that may rename a link of this namespace: when
// the kernel brings a NIC back, udev gives it its own name as an alternative
// one, and may do so at this moment.
func (n *Namespace) inSpiteOfUdev(index int, c Change, change func(int, Change) error) error {
	err := change(index, c)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	if now, lookErr := n.LinkAt(index); lookErr == nil && slices.Contains(now.Attrs().AltNames, c.Name) {
		if err := n.deleteAltNames(now, []string{c.Name}); err != nil {
			return err
		}
		err = change(index, c)
	}
	return err
}

// rename renames a link that the host uses. Before Linux 6.2 it has to be down for
// that, which takes its IPv6 addresses and its routes away.
func (n *Namespace) rename(ctx context.Context, link netlink.Link, name string) error {
	index, c := link.Attrs().Index, Change{Name: name}
	err := n.inSpiteOfUdev(index, c, n.Apply)
	if !errors.Is(err, unix.EBUSY) {
		return wrap("rename it to "+name, err)
	}
	s, err := n.State(ctx, link)
	if err == nil {
		err = n.inSpiteOfUdev(index, c, n.change)
	}
	if err != nil {
		return fmt.Errorf("rename it to %s: %w", name, err)
	}
	up := Change{}
	up.Flags, up.Which = s.flags()
	return errors.Join(n.Apply(index, up), n.AddAddresses(link, s.Addresses), n.AddRoutes(link, s.Routes))
}

// change is Apply within the namespace for what some links take only while they
// are down: another name, before Linux 6.2 (dev_change_name), or another
// address.
func (n *Namespace) change(index int, c Change) error {
	return downIfNeedBe(func() error { return n.Apply(index, c) }, func() error { return n.setDown(index) })
}

// downIfNeedBe makes a change to a link that may have to be down for it. Somebody
// else, such as the host's network manager, may set the link up at any time.
func downIfNeedBe(change, setDown func() error) error {
	err := change()
	for range 3 {
		if !errors.Is(err, unix.EBUSY) {
			break
		}
		if err := setDown(); err != nil {
			return fmt.Errorf("set down: %w", err)
		}
		err = change()
	}
	return err
}

// dropAltNames removes alternative names from a link that is about to come
// back: those that the host did not give, and those that the host has by now.
// The kernel would not let the link in with a name that is taken, nor rename it
// to an alternative name of its own (__dev_change_net_namespace,
// dev_change_name).
//
// On kernels that leave such names behind, the host finds this very link by
// them, and they stay: they cannot be removed from it where it is. What a pod
// has added goes; it would be forgotten in a namespace that ends
// (default_device_exit_net).
func (n *Namespace) dropAltNames(from *Namespace, link netlink.Link, s State) error {
	return from.deleteAltNames(link, slices.DeleteFunc(slices.Clone(link.Attrs().AltNames), func(name string) bool {
		if !slices.Contains(s.AltNames, name) || from.ID == n.ID {
			return slices.Contains(s.AltNames, name)
		}
		holder, err := n.linkNamed(name)
		return err == nil && holder == nil
	}))
}

// fallbackName lets the kernel number a netdev that cannot have its own name
// on the host; it does the same when a namespace ends.
const fallbackName = "dev%d"

func wrap(step string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", step, err)
}
