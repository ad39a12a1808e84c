package cni

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// add attaches the NIC and prints the result.
func (p *Plugin) add(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	var claims []claim.Claim
	switch {
	case c.Claims && c.previous == nil:
		return invalid(`"claims" without prevResult`, "chain it behind the cluster's own network")
	case c.Claims:
		if claims, err = p.claimsOf(args); err != nil {
			return err
		}
		if len(claims) == 0 {
			return c.passOn()
		}
	case c.Devices == nil:
		if _, err := c.selector(); err != nil {
			return err
		}
	}
	if err := checkIfName(args.IfName); err != nil {
		return err
	}
	if err := checkText(args); err != nil {
		return err
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	o.claims = claims
	return o.attach()
}

// attach attaches the NICs of the call, all of them or none.
func (o *operation) attach() error {
	pod, err := netdev.OpenNamespace(o.args.Netns)
	if err != nil {
		return fail(types.ErrInvalidNetNS, "", "the pod", err, "CNI_NETNS must be the path of a network namespace")
	}
	defer pod.Close()
	if pod.ID == o.host.ID {
		return fail(types.ErrInvalidNetNS, "", fmt.Sprintf("CNI_NETNS %s is the host's own network namespace", pod.Path), nil,
			"a pod with hostNetwork has the NIC already")
	}
	nics, err := o.nics()
	if err != nil {
		return err
	}
	if err := o.refuseSecond(nics); err != nil {
		return err
	}
	lock, err := o.lockContainer(o.args.ContainerID)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	reason, err := o.journal.Refused(o.pod)
	if err != nil {
		return fail(codeJournal, "", "", err, "is the state folder readable?")
	}
	if reason != "" {
		return fail(codeMoveRDMA, "", "an earlier ADD of this pod failed: "+reason, nil, createAnew)
	}
	if err := o.closeEarlier(); err != nil {
		return err
	}
	targets, locks, err := o.claim(nics)
	if err != nil {
		return err
	}
	defer locks.unlock()
	var all []*transfer
	for i, nic := range nics {
		t := &transfer{operation: nic, nic: targets[i], into: pod}
		defer t.close()
		all = append(all, t)
	}
	return o.carryOut(all)
}

// carryOut takes the NICs through an ADD. Nothing is written before all of them
// have been looked at, nothing moves before all are written down, and no pod has
// one for good before all are usable. Addresses and routes are set in the order of
// the call, because the kernel prefers what was there first.
func (o *operation) carryOut(all []*transfer) error {
	together(all, func(t *transfer) error { t.closeOver(t.nic); return nil })
	if err := o.askHostwide(all); err != nil {
		return err
	}
	if err := first(together(all, (*transfer).examine)); err != nil {
		return err
	}
	err := first(together(all, (*transfer).note))
	if err == nil {
		err = first(together(all, (*transfer).bring))
	}
	if err == nil {
		err = first(inTurn(all, (*transfer).equip))
	}
	if err == nil {
		err = first(together(all, (*transfer).confirm))
	}
	if err == nil {
		err = o.answer(o.result(all))
	}
	if err != nil {
		return o.undo(all, err)
	}
	for _, t := range all {
		t.sayLeftBehind(t.record)
	}
	return nil
}

// sayLeftBehind warns where a kernel leaves a NIC's alternative names behind.
func (o *operation) sayLeftBehind(r *attachment.Record) {
	if names := o.host.LeftBehind(r.Host.AltNames); len(names) > 0 {
		o.logFor(r).Info("this kernel (before Linux 6.6) leaves the NIC's alternative names on the host: whoever uses them there gets the pod's NIC", "names", names)
	}
}

// refuseSecond refuses an interface that an earlier plugin of the chain has
// made, as with two NICs in one list: the record of the first must not be taken
// for that of an unfinished ADD.
func (o *operation) refuseSecond(nics []*operation) error {
	if o.config.previous == nil {
		return nil
	}
	for _, one := range nics {
		if _, nic := ownInterface(o.config.previous, one.args.IfName, one.args.Netns); nic != nil {
			return fail(codeNameTaken, "", fmt.Sprintf("the pod already has an interface %s, from an earlier plugin of network %s", one.args.IfName, o.config.Name), nil,
				`a network moves one NIC, or those that "devices" lists: give each of the others a network of its own; nothing was changed`)
		}
	}
	return nil
}

// closeEarlier ends what an earlier ADD of this very call left: it was killed, or
// its answer never reached the runtime, which now tries again.
func (o *operation) closeEarlier() error {
	records, err := o.ofCall()
	if err != nil {
		return err
	}
	return first(together(records, func(r *attachment.Record) error {
		o.logFor(r).Warn("an earlier ADD of this attachment was not finished; undoing it", "step", r.Step)
		return o.releaseAlone(r)
	}))
}

// A target is the NIC that the network names: on the host, or held by a pod. What
// the journal says of it stays so while its lock is held.
type target struct {
	link    netlink.Link       // nil if it is not on the host
	held    *attachment.Record // of the attachment that has it, if one has
	records []*attachment.Record
}

// looks bounds how often claim looks for the NICs. Two looks are enough, and one
// more after a repair, unless somebody gives their names to other links meanwhile.
const looks = 10

// claim finds the NICs of a call on the host and locks them; the caller unlocks
// them. If one is not free, the journal says why, and it is brought back if its pod
// is gone.
//
// What is seen without the NICs' locks only says which locks to take. By the time
// they are held, another link may have the name; and the kernel may say of a veth
// that is just being moved that its peer is in another namespace, which makes
// another key. So a look counts only if it finds what is already locked.
func (o *operation) claim(nics []*operation) (_ []target, _ nicLocks, err error) {
	o.settleOwed()
	var locks nicLocks
	defer func() {
		if err != nil {
			locks.unlock()
		}
	}()
	var sel selector
	for range looks {
		targets, wanted := make([]target, len(nics)), nicLocks{}
		for i, nic := range nics {
			if sel, err = nic.config.selector(); err != nil {
				return nil, nicLocks{}, err
			}
			if targets[i], err = nic.look(sel); err != nil {
				return nil, nicLocks{}, err
			}
			wanted.want(targets[i].key(), sel.value)
		}
		if !locks.has(wanted) {
			locks.unlock()
			if locks, err = o.lockNICs(wanted); err != nil {
				return nil, nicLocks{}, err
			}
			continue
		}
		if err := refuseTwice(nics, targets); err != nil {
			return nil, nicLocks{}, err
		}
		free, err := o.free(nics, targets)
		if err != nil {
			return nil, nicLocks{}, err
		}
		if free {
			return targets, locks, nil
		}
	}
	return nil, nicLocks{}, fail(types.ErrTryAgainLater, "", fmt.Sprintf("find the NIC with %s: it was another one at each look", sel), nil, "try again; nothing was changed")
}

// free tells whether the NICs are free, with what the journal says of each. If one
// is not, and nobody else has it, that is ended: then another look is due.
func (o *operation) free(nics []*operation, targets []target) (bool, error) {
	records, err := o.records()
	if err != nil {
		return false, err
	}
	var over []*attachment.Record
	for i, nic := range nics {
		t := &targets[i]
		if t.link != nil {
			t.records = records
			t.held = o.holderIn(records, func(r *attachment.Record) bool { return r.NIC.Netdev.IsOnHost(t.link) })
		}
		if t.held == nil {
			continue
		}
		if err := nic.refuseHeld(t.held); err != nil {
			return false, err
		}
		over = append(over, t.held)
	}
	return len(over) == 0, first(together(over, func(r *attachment.Record) error {
		if o.takesOver(r) {
			o.logFor(r).Info("a network of the pod takes over the NIC that a claim gave it", "interface", r.IfName)
		} else {
			o.logFor(r).Warn("a NIC came back without DEL; restoring it")
		}
		return o.release(r)
	}))
}

// same tells whether two entries of a network name one NIC.
func (t target) same(other target) bool {
	if t.link != nil && other.link != nil {
		return t.link.Attrs().Index == other.link.Attrs().Index
	}
	return t.held != nil && other.held != nil && t.held.ID() == other.held.ID()
}

// key is that of the NIC's lock.
func (t target) key() string {
	if t.link != nil {
		return netdev.IdentityOf(t.link).Key()
	}
	return t.held.NIC.Netdev.Key()
}

// look finds what the network names: a link of the host or, if there is none, the
// record of the attachment that has it. It is an error if there is neither.
func (o *operation) look(sel selector) (nic target, err error) {
	if err := o.refuseOwedName(sel); err != nil {
		return nic, err
	}
	if nic.link, err = sel.find(o.ctx, o.host, o.Node); err == nil && nic.link == nil {
		if nic.held, err = o.holder(sel.isOf); err != nil {
			return nic, err
		}
		if nic.held == nil { // its DEL may have ended between the two looks
			nic.link, err = sel.find(o.ctx, o.host, o.Node)
		}
	}
	if err != nil {
		return nic, fail(codeNICNotFound, "", "find the NIC by "+sel.String(), err, "name one NIC")
	}
	if nic.link == nil && nic.held == nil {
		return nic, fail(codeNICNotFound, "", fmt.Sprintf("no NIC with %s on this node", sel), nil,
			"compare with `ip link` on the host; nothing was changed")
	}
	return nic, nil
}

// refuseHeld refuses a NIC that its pod has. Otherwise its attachment was left by a
// crash, or by a pod that ended without a DEL: no ADD or DEL is at work, because we
// have the lock.
func (o *operation) refuseHeld(r *attachment.Record) error {
	if o.takesOver(r) {
		return nil
	}
	held, err := o.stillHeld(r)
	if err != nil {
		return fail(codeReturn, r.Host.Name, "look for the NIC in "+r.Netns.Path, err, "try again")
	}
	if !held {
		return nil
	}
	sel, err := o.config.selector()
	if err != nil {
		return err
	}
	return fail(codeNICHeld, sel.value, "held by "+r.Holder(), nil, "a NIC is in one pod at a time; nothing was changed")
}

// stillHeld tells whether the record's pod has the NIC: its ADD got to the end, and
// the NIC is in its namespace, or that lives and the NIC is not on the host. The pod
// is asked first: on the host there may be a macvlan with the MAC address of the
// pod's, by chance or by another pod's making.
func (o *operation) stillHeld(r *attachment.Record) (bool, error) {
	if r.Step != attachment.Attached {
		return false, nil
	}
	pod, err := r.OpenPod()
	if err != nil {
		return false, err
	}
	if pod != nil {
		defer pod.Close()
		if link, err := pod.Link(o.ctx, r.NIC.Netdev, o.host); link != nil || err != nil {
			return link != nil, err
		}
	}
	if link, err := o.host.Link(o.ctx, r.NIC.Netdev, o.host); link != nil || err != nil {
		return false, err
	}
	return pod != nil || r.HasProcesses(o.ctx), nil
}

// closeOver ends those of the NIC's attachments that are over but still have an
// address: of an earlier boot, or brought back by the rescue. Their DEL may
// come late, which does no harm, or never. A thick Multus that is not up
// reports success for a DEL that it did not make (CmdDel in
// pkg/server/api/shim.go of 4.2 and 4.3), such as those that follow a reboot;
// containerd 1.7 makes none for a pod whose ADD it did not see end
// (stopPodSandbox in pkg/cri/server/sandbox_stop.go); and no runtime sends a GC
// to a secondary network. A failure here is no reason to keep the NIC from its
// next pod.
//
// A record of this boot is the NIC's by its identity alone: another NIC that had
// its name has a lock of its own, which we do not hold.
func (o *operation) closeOver(nic target) {
	begin := time.Now()
	for _, r := range nic.records {
		if time.Since(begin) >= ipamTimeout {
			return // the NIC has waited long enough for an IPAM plugin that hangs
		}
		isOf := r.NIC.Netdev.IsOnHost(nic.link)
		switch {
		case !o.journal.Current(r): // its ifindexes are those of another boot
			isOf = isOf || r.Host.Name == nic.link.Attrs().Name
		case r.Step != attachment.Returned:
			continue
		}
		if !isOf {
			continue
		}
		o.logFor(r).Warn("an earlier attachment of the NIC had no DEL; ending it", "container", r.ContainerID)
		if err := o.release(r); err != nil {
			o.logFor(r).Warn("it stays in the journal", "err", err)
		}
	}
}

// prepare describes the NIC and checks the pod's side: the last step that changes
// nothing. settled is to be called when the record is written.
func (t *transfer) prepare() (_ *attachment.Record, settled func() error, err error) {
	of, pod, link := t.nic, t.into, t.nic.link
	name := link.Attrs().Name
	if err := t.permit(link, t.tables); err != nil {
		return nil, nil, err
	}
	state, err := t.host.StateBy(t.ctx, t.tables)
	if err != nil {
		return nil, nil, fail(codeMove, name, "read the NIC's state", err, "try again")
	}
	if err = t.uppers(link, &state); err != nil {
		return nil, nil, err
	}
	manager, settled, err := t.manager(link, &state)
	if err != nil {
		return nil, nil, err
	}
	nic, err := t.describe(of)
	if err != nil {
		return nil, nil, err
	}
	for _, check := range []func() error{
		func() error { return t.guardRDMA(link, nic.RDMA) },
		func() error { return t.checkRequest(link, nic, state) },
		func() error { return t.checkName(of, pod) },
		func() error { return t.refusePeer(link, pod) },
		func() error { return t.guard(t.ctx, link, t.usesAddress) },
		func() error { return t.guard(t.ctx, link, t.hasUppersElsewhere) },
		func() error { return t.refuseLower(of) },
	} {
		if err := check(); err != nil {
			return nil, nil, err
		}
	}
	for _, q := range state.Qdiscs {
		t.Log.Warn("the move removes the host's queueing discipline; DEL restores it without classes and filters", "nic", name, "qdisc", q)
	}
	r := &attachment.Record{
		Created: time.Now().UTC(), Step: attachment.Prepared,
		ContainerID: t.args.ContainerID, IfName: t.args.IfName, Call: t.call, Claim: t.claimUID, Network: t.config.Name, Pod: t.pod,
		Netns: attachment.Namespace{Path: pod.Path, ID: pod.ID, Cookie: pod.Cookie},
		NIC:   nic, Host: state, Manager: manager, ManagerLacks: t.Managers.Lacks(manager, link.Attrs().Index),
		Args: t.args.Args, Config: t.args.StdinData,
	}
	if len(r.ManagerLacks) > 0 {
		t.logFor(r).Warn("the host's network manager lacks settings without which the NIC comes back late or with other metrics; docs/deploying.md has them",
			"manager", manager, "lacks", strings.Join(r.ManagerLacks, ", "))
	}
	return r, settled, nil
}

// permit refuses a link that must not move, or not for this network.
func (o *operation) permit(link netlink.Link, tables *netdev.Tables) error {
	if err := o.checkPolicy(link); err != nil {
		return err
	}
	if err := o.checkDeviceInfo(); err != nil {
		return err
	}
	if why := netdev.Unfit(link); why != "" {
		return fail(codeGuard, link.Attrs().Name, why, nil, "nothing was changed")
	}
	return o.guard(o.ctx, link, o.guards(tables).Netdev)
}

// checkRequest refuses what the configuration asks for and this NIC cannot do.
func (o *operation) checkRequest(link netlink.Link, nic attachment.NIC, state netdev.State) error {
	if o.config.mac() != nil && nic.Netdev.ToldByMAC() {
		return invalid(`"runtimeConfig.mac" is %q, and %s is a %s`, "such a link is identified by its MAC address; nothing was changed",
			o.config.RuntimeConfig.MAC, state.Name, link.Type())
	}
	if o.config.KeepAddresses && len(state.Addresses) == 0 {
		return fail(codeConfigure, state.Name, "keep its addresses: it has none on the host", nil, `configure it on the host, or use "ipam"; nothing was changed`)
	}
	if _, err := o.findIPAM(); err != nil {
		return fail(codeIPAM, state.Name, "find IPAM plugin "+o.config.IPAM.Type, err, "install it in the CNI plugin folder; nothing was changed")
	}
	return nil
}

// checkName refuses a pod that has an interface of the name, or had: another call's
// record says what became of it.
func (o *operation) checkName(of target, pod *netdev.Namespace) error {
	name := of.link.Attrs().Name
	if slices.ContainsFunc(of.records, func(r *attachment.Record) bool { return r.ID() == o.id() }) {
		return fail(codeNameTaken, name, fmt.Sprintf("another network of the pod has the interface name %s", o.args.IfName), nil,
			"give each network of the pod another interface name; nothing was changed")
	}
	taken, err := pod.LinkNamed(o.args.IfName)
	if err != nil {
		return fail(codeMove, name, "look at the pod's interfaces", err, "try again")
	}
	if taken != nil {
		return fail(codeNameTaken, name, fmt.Sprintf("the pod already has an interface %s (%s)", o.args.IfName, taken.Type()), nil,
			"give each network of the pod another interface name; nothing was changed")
	}
	return nil
}

// refusePeer refuses the peer of one of the pod's own interfaces: with both in
// one namespace the kernel no longer names another namespace, which is what
// tells it from a veth pair that the pod made.
func (o *operation) refusePeer(link netlink.Link, pod *netdev.Namespace) error {
	name := link.Attrs().Name
	is, err := o.host.HasPeerIn(link, pod)
	if err != nil {
		return fail(codeMove, name, "look for its peer", err, "try again")
	}
	if is {
		return fail(codeGuard, name, "it is the peer of an interface of this pod", nil, "name another link; nothing was changed")
	}
	return nil
}

// refuseGateway refuses an address that is the gateway of the pod's own routes.
func (o *operation) refuseGateway(r *attachment.Record, p plan, address *current.Result) error {
	gateway, used := p.ownGateway(address)
	if used {
		return fail(codeGateway, r.Host.Name, fmt.Sprintf("IPAM plugin %s gave the pod %s, the address of the gateway that its routes go through", o.config.IPAM.Type, gateway), nil,
			`exclude it from the range, with Whereabouts by "exclude": ["`+gateway.String()+`/32"]`)
	}
	if gateway.IsValid() {
		o.logFor(r).Warn("the pod got the gateway's address; nothing routes through it", "address", gateway)
	}
	return nil
}

// configure gives the netdev in the pod what the plan has, and tells the
// neighbours and Multus.
func (o *operation) configure(r *attachment.Record, pod *netdev.Namespace, link netlink.Link, p plan) error {
	if r.Rules = p.rules; len(r.Rules) > 0 {
		// Addresses and routes go with the netdev; rules would stay.
		if err := o.journal.Update(r); err != nil {
			return fail(codeJournal, r.Host.Name, "write down its rules", err, "mount the state folder "+o.policy.StateDir+", or free space on it")
		}
	}
	// A value that the network sets is in place already, and stays.
	if _, own := o.config.Sysctls["net.ipv6.conf.IFNAME.keep_addr_on_down"]; !own && slices.ContainsFunc(p.addresses, netdev.Address.Is6) {
		if err := pod.KeepIPv6(link); err != nil {
			o.logFor(r).Warn("IPv6 addresses will be lost if the link is set down", "err", err)
		}
	}
	wanted := slices.Clone(p.routes)
	if err := p.apply(o.ctx, pod, link); err != nil {
		return fail(codeConfigure, r.Host.Name, "configure its addresses in the pod", err, "compare the IPAM plugin's routes and gateway with its subnet")
	}
	for i, route := range p.routes {
		if route.Priority != wanted[i].Priority {
			o.logFor(r).Warn("another NIC of the pod has a route to this destination; this route gets a higher metric", "route", route.String(), "metric", route.Priority)
		}
	}
	r.Routes = p.routes
	if err := o.writeDeviceInfo(r); err != nil {
		return fail(codeConfigure, r.Host.Name, "tell Multus about it", err, "is the folder of CNIDeviceInfoFile writable?")
	}
	o.announce(r, pod, link, p)
	return nil
}

// move brings netdev and RDMA device into the pod, in this order, which is the
// one that works for RoCE (IPoIB needs the other).
func (o *operation) move(r *attachment.Record, link netlink.Link, pod *netdev.Namespace, subsystem *rdma.Namespace) (netlink.Link, error) {
	name := r.Host.Name
	sysctls, err := o.config.sysctls(o.args.IfName)
	if err != nil {
		return nil, err
	}
	if o.config.Force {
		// A program would move along, and run in the pod.
		programs, err := o.host.Programs(link)
		if err := errors.Join(err, o.host.Detach(link, programs)); err != nil {
			return nil, fail(codeMove, name, "detach the host's programs from it", err, "see `ip -d link` and `bpftool net` on the host")
		}
	}
	if slices.Contains(r.Host.AltNames, o.args.IfName) { // the record has it, for the way back
		if err := o.host.DropAltName(link, o.args.IfName); err != nil {
			return nil, fail(codeMove, name, "drop the alternative name that is to be its name in the pod", err, "try again")
		}
	}
	change := netdev.Change{Namespace: pod, Name: o.args.IfName, MTU: o.config.MTU, MAC: o.config.mac()}
	if len(sysctls) == 0 {
		change.Flags, change.Which = unix.IFF_UP, unix.IFF_UP
	}
	if err := o.host.Apply(link.Attrs().Index, change); err != nil {
		return nil, fail(codeMove, name, "move it into the pod as "+o.args.IfName, err, "see the kernel log for the driver's reason")
	}
	if err := o.noteMoved(r, pod); err != nil {
		return nil, err
	}
	if err := pod.SetSysctls(sysctls); err != nil {
		return nil, fail(codeConfigure, name, "set its sysctls", err, "compare with /proc/sys/net on the host")
	}
	if r.NIC.RDMAMoved {
		err := o.moveRDMA(r, subsystem)
		if err != nil && o.goesWithout(r, err) {
			err = o.goWithout(r)
		}
		if err != nil {
			return nil, fail(codeMoveRDMA, name, "move its RDMA device into the pod", err, "see `rdma dev` and the kernel log")
		}
	}
	moved, err := pod.Link(o.ctx, r.NIC.Netdev, o.host)
	if err == nil && moved == nil {
		err = errors.New("it left the pod's namespace again")
	}
	if err != nil {
		return nil, fail(codeMove, name, "find it in the pod", err, "try again")
	}
	r.NIC.Netdev.AwayIndex = moved.Attrs().Index
	if len(sysctls) > 0 {
		if err := pod.SetUp(moved); err != nil {
			return nil, fail(codeMove, name, "set it up in the pod", err, "see the kernel log for the driver's reason")
		}
	}
	return moved, nil
}

// noteMoved writes down that the pod has had the NIC, and its ifindex there. From
// now on the pod may take it on to a namespace of its own, while the IPAM plugin is
// asked, or a crash ends the ADD.
func (o *operation) noteMoved(r *attachment.Record, pod *netdev.Namespace) error {
	r.NIC.Netdev.AwayIndex = netdev.AwayUnknown
	if moved, err := pod.Link(o.ctx, r.NIC.Netdev, o.host); moved != nil && err == nil {
		r.NIC.Netdev.AwayIndex = moved.Attrs().Index
	}
	if err := o.journal.Update(r); err != nil {
		return fail(codeJournal, r.Host.Name, "write down that it has moved", err, "mount the state folder "+o.policy.StateDir+", or free space on it")
	}
	return nil
}

// goesWithout tells whether an error means that the kernel has deleted a
// software RDMA device because its netdev moved, and that the network can do
// without it. Nothing tells that beforehand.
func (o *operation) goesWithout(r *attachment.Record, err error) bool {
	return o.config.RDMA == rdmaOptional && r.NIC.RDMA.Soft && errors.Is(err, rdma.ErrNoDevice)
}

// goWithout makes it an attachment of the netdev alone.
func (o *operation) goWithout(r *attachment.Record) error {
	o.logFor(r).Warn("the pod gets the NIC without its RDMA device: the kernel deleted it when the NIC moved; it is recreated when the NIC returns to the host", "rdma", r.NIC.RDMA.Name)
	r.NIC.Soft, r.NIC.RDMA, r.NIC.RDMAMoved = r.NIC.RDMA, nil, false
	if r.DeviceInfoFile == "" {
		return nil
	}
	return o.writeDeviceInfo(r) // without it
}

// createAnew is the advice for what only the kubelet can repair.
const createAnew = "delete the pod and create it again"

func (o *operation) moveRDMA(r *attachment.Record, pod *rdma.Namespace) error {
	lock, err := o.journal.LockRDMAMoves(o.ctx, o.who())
	if err != nil {
		return err
	}
	defer lock.Unlock()
	host, err := o.hostRDMA()
	if err != nil {
		return err
	}
	link, ok, err := host.Find(*r.NIC.RDMA)
	switch {
	case err != nil:
		return err
	case !ok:
		return fmt.Errorf("%w %s on the host any more", rdma.ErrNoDevice, r.NIC.RDMA.Name)
	}
	if err := host.Move(link, pod); err != nil {
		if r.NIC.RDMA.Soft {
			if gone, _ := host.IsGone(o.ctx, *r.NIC.RDMA, gidWait); gone {
				return fmt.Errorf("%w %s any more: %w", rdma.ErrNoDevice, r.NIC.RDMA.Name, err)
			}
		}
		return err
	}
	before := r.NIC.RDMA.Uverbs()
	if r.NIC.RDMA.CharDevices, err = pod.CharDevices(o.Node, link, *r.NIC.RDMA); err != nil {
		return err
	}
	if after := r.NIC.RDMA.Uverbs(); after != before {
		// The kubelet chose the containers' device nodes when it admitted the
		// pod. It does not choose again when the runtime tries again, and the
		// number would not change back.
		reason := fmt.Sprintf("the character device of %s is now %s, but the pod's containers get %s; %s", r.Host.Name, after, before, createAnew)
		return errors.Join(errors.New(reason), o.journal.Refuse(o.pod, reason))
	}
	if o.config.RDMADeviceName == "" {
		return nil
	}
	return pod.Rename(link, o.config.RDMADeviceName)
}

// undo gives everything back after a failed ADD and returns the error of the
// ADD, together with what could not be undone. In that case the records stay,
// and DEL, GC or the next ADD tries again.
func (o *operation) undo(all []*transfer, cause error) error {
	noted := slices.DeleteFunc(slices.Clone(all), func(t *transfer) bool { return !t.noted })
	err := first(together(noted, func(t *transfer) error {
		if !t.asked { // or what an IPAM plugin says that is not there would keep the record for ever
			t.record.Config = nil
		}
		err := t.release(t.record)
		if err != nil {
			t.logFor(t.record).Error("undoing the failed ADD", "err", err)
		}
		return err
	}))
	var failed *types.Error
	if err != nil && errors.As(cause, &failed) {
		failed.Details += "; undoing it failed, too: " + err.Error()
	}
	return cause
}
