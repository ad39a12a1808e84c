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
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// add attaches the NIC and prints the result.
func (p *Plugin) add(args *skel.CmdArgs) error {
	c, err := parseConfig(args.StdinData)
	if err != nil {
		return err
	}
	if _, err := c.selector(); err != nil {
		return err
	}
	if err := checkIfName(args.IfName); err != nil {
		return err
	}
	o, err := p.begin(args, c)
	if err != nil {
		return err
	}
	defer o.end()
	return o.attach()
}

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
	if err := o.refuseSecond(); err != nil {
		return err
	}
	lock, err := o.lockAttachment(o.id())
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
	nic, err := o.claim()
	if err != nil {
		return err
	}
	defer nic.lock.Unlock()
	o.closeOver(nic)
	r, err := o.prepare(nic, pod)
	if err != nil {
		return err
	}
	result, err := o.moveIn(r, nic.link, pod)
	if err == nil {
		err = o.answer(result)
	}
	if err != nil {
		return o.undo(r, err)
	}
	o.sayLeftBehind(r)
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
func (o *operation) refuseSecond() error {
	if o.config.PrevResult == nil {
		return nil
	}
	previous, err := current.NewResultFromResult(o.config.PrevResult)
	if err != nil {
		return fail(types.ErrDecodingFailure, "", "read prevResult", err, "the plugin before this one in the chain printed it: look there")
	}
	if _, nic := ownInterface(previous, o.args.IfName, o.args.Netns); nic != nil {
		return fail(codeNameTaken, "", fmt.Sprintf("the pod already has an interface %s, from an earlier plugin of network %s", o.args.IfName, o.config.Name), nil,
			"a network moves one NIC: give each NIC a network of its own; nothing was changed")
	}
	return nil
}

// closeEarlier ends what an earlier ADD of this very attachment left: it was
// killed, or its answer never reached the runtime, which now tries again.
func (o *operation) closeEarlier() error {
	r, err := o.read(o.id())
	if r == nil || err != nil {
		return err
	}
	o.logFor(r).Warn("an earlier ADD of this attachment was not finished; undoing it", "step", r.Step)
	lock, err := o.lockNICOf(r)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return o.release(r)
}

// A claim is the NIC that the network names: on the host, or held by a pod. What
// the journal says of it stays so while its lock is held.
type claim struct {
	link    netlink.Link       // nil if it is not on the host
	held    *attachment.Record // of the attachment that has it, if one has
	records []*attachment.Record
	lock    *attachment.Lock
}

// looks bounds how often claim looks for the NIC. Two looks are enough, and one
// more after a repair, unless somebody gives its name to other links meanwhile.
const looks = 10

// claim finds the NIC on the host and locks it; the caller unlocks it. If the NIC
// is not free, the journal says why, and the NIC is brought back if its pod is
// gone.
//
// What is seen without the NIC's lock only says which lock to take. By the time
// that is held, another link may have the name; and the kernel may say of a veth
// that is just being moved that its peer is in another namespace, which makes
// another key. So a look counts only if it finds what is already locked.
func (o *operation) claim() (_ claim, err error) {
	sel, err := o.config.selector()
	if err != nil {
		return claim{}, err
	}
	o.settleOwed()
	var lock *attachment.Lock
	defer func() {
		if err != nil {
			lock.Unlock()
		}
	}()
	locked := ""
	for range looks {
		nic, err := o.look(sel)
		if err != nil {
			return claim{}, err
		}
		if key := nic.key(); key != locked {
			lock.Unlock()
			if lock, err = o.lockNIC(key, sel.value); err != nil {
				return claim{}, err
			}
			locked = key
			continue
		}
		if nic.link != nil {
			if nic.records, err = o.records(); err != nil {
				return claim{}, err
			}
			nic.held = o.holderIn(nic.records, func(r *attachment.Record) bool { return r.NIC.Netdev.IsOnHost(nic.link) })
		}
		if nic.held == nil {
			nic.lock = lock
			return nic, nil
		}
		if err := o.repair(nic.held, sel); err != nil {
			return claim{}, err
		}
	}
	return claim{}, fail(types.ErrTryAgainLater, "", fmt.Sprintf("find the NIC with %s: it was another one at each look", sel), nil, "try again; nothing was changed")
}

// key is that of the NIC's lock.
func (c claim) key() string {
	if c.link != nil {
		return netdev.IdentityOf(c.link).Key()
	}
	return c.held.NIC.Netdev.Key()
}

// look finds what the network names: a link of the host or, if there is none, the
// record of the attachment that has it. It is an error if there is neither.
func (o *operation) look(sel selector) (nic claim, err error) {
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

// repair ends an attachment that was left by a crash, or by a pod that ended
// without a DEL: no ADD or DEL is at work, because we have the lock. A NIC that
// its pod has is an error.
func (o *operation) repair(r *attachment.Record, sel selector) error {
	held, err := o.stillHeld(r)
	if err != nil {
		return fail(codeReturn, r.Host.Name, "look for the NIC in "+r.Netns.Path, err, "try again")
	}
	if held {
		return fail(codeNICHeld, sel.value, "held by "+r.Holder(), nil, "a NIC is in one pod at a time; nothing was changed")
	}
	o.logFor(r).Warn("a NIC came back without DEL; restoring it")
	return o.release(r)
}

// stillHeld tells whether the record's pod has the NIC: its ADD got to the end,
// its namespace lives and the NIC is not on the host.
func (o *operation) stillHeld(r *attachment.Record) (bool, error) {
	if r.Step != attachment.Attached {
		return false, nil
	}
	link, err := o.host.Link(o.ctx, r.NIC.Netdev, o.host)
	if link != nil || err != nil {
		return false, err
	}
	return attachment.PodAlive(r)
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
func (o *operation) closeOver(nic claim) {
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

// prepare describes the NIC, checks the pod's side and writes the record: the
// last step that changes nothing.
func (o *operation) prepare(claimed claim, pod *netdev.Namespace) (*attachment.Record, error) {
	link := claimed.link
	name := link.Attrs().Name
	survey := o.startSurvey(link)
	tables, err := o.host.Tables(o.ctx, link)
	if err != nil {
		return nil, fail(codeMove, name, "read the NIC's state", err, "try again")
	}
	guardAddresses := o.startGuardOfAddresses(link, tables)
	if err := o.permit(link, tables); err != nil {
		return nil, err
	}
	state, err := o.host.StateBy(o.ctx, tables)
	if err != nil {
		return nil, fail(codeMove, name, "read the NIC's state", err, "try again")
	}
	if state.Uppers, err = o.uppers(link); err != nil {
		return nil, err
	}
	manager, settled, err := o.manager(link, &state)
	if err != nil {
		return nil, err
	}
	nic, err := o.describe(claimed)
	if err != nil {
		return nil, err
	}
	for _, check := range []func() error{
		func() error { return o.guardRDMA(link, nic.RDMA) },
		func() error { return o.checkRequest(link, nic, state) },
		func() error { return o.checkName(name, pod) },
		func() error { return o.refusePeer(link, pod) },
		guardAddresses, survey,
	} {
		if err := check(); err != nil {
			return nil, err
		}
	}
	for _, q := range state.Qdiscs {
		o.Log.Warn("the move removes the host's queueing discipline; DEL restores it without classes and filters", "nic", name, "qdisc", q)
	}
	r := &attachment.Record{
		Created: time.Now().UTC(), Step: attachment.Prepared,
		ContainerID: o.args.ContainerID, IfName: o.args.IfName, Network: o.config.Name, Pod: o.pod,
		Netns: attachment.Namespace{Path: pod.Path, ID: pod.ID, Cookie: pod.Cookie},
		NIC:   nic, Host: state, Manager: manager, ManagerLacks: o.Managers.Lacks(manager, link.Attrs().Index),
		Args: o.args.Args, Config: o.args.StdinData,
	}
	if len(r.ManagerLacks) > 0 {
		o.logFor(r).Warn("the host's network manager lacks settings without which the NIC comes back late or with other metrics; docs/deploying.md has them",
			"manager", manager, "lacks", strings.Join(r.ManagerLacks, ", "))
	}
	if err := o.journal.Write(r); err != nil {
		err = errors.Join(err, o.journal.Remove(r.ID()))
		return nil, fail(codeJournal, name, "write down what is about to be moved", err,
			"mount the state folder "+o.policy.StateDir+", or free space on it; nothing was changed")
	}
	if err := settled(); err != nil {
		o.logFor(r).Warn("could not remove the note of what was owed to the NIC", "err", err)
	}
	return r, nil
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
	if err := o.findIPAM(); err != nil {
		return fail(codeIPAM, state.Name, "find IPAM plugin "+o.config.IPAM.Type, err, "install it in the CNI plugin folder; nothing was changed")
	}
	return nil
}

// checkName refuses a pod that has an interface of the name.
func (o *operation) checkName(name string, pod *netdev.Namespace) error {
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

// moveIn moves the NIC into the pod while the IPAM plugin finds an address, then
// configures it. On an error the caller undoes it.
func (o *operation) moveIn(r *attachment.Record, link netlink.Link, pod *netdev.Namespace) (*current.Result, error) {
	var subsystem *rdma.Namespace // the pod's
	if r.NIC.RDMA != nil {
		var err error
		if subsystem, err = rdma.Open(pod.NS); err != nil {
			return nil, fail(codeMoveRDMA, r.Host.Name, "look at the pod's RDMA devices", err, "try again")
		}
		defer subsystem.Close()
	}
	waitForIPAM := o.startIPAM()
	moved, err := o.move(r, link, pod, subsystem)
	address, ipamErr := waitForIPAM(err == nil)
	if err != nil {
		return nil, err
	}
	if ipamErr != nil {
		o.freeFailed(r)
		return nil, fail(codeIPAM, r.Host.Name, "get an address from "+o.config.IPAM.Type, ipamErr, "see the IPAM plugin's own documentation and log")
	}
	p := o.config.plan(r, moved, address)
	if o.config.KeepAddresses {
		address = p.resultOf()
	}
	if err := o.refuseGateway(r, p, address); err != nil {
		return nil, err
	}
	if mtu := moved.Attrs().MTU; mtu < minMTU6 && slices.ContainsFunc(p.addresses, netdev.Address.Is6) {
		return nil, fail(codeConfigure, r.Host.Name, fmt.Sprintf("IPv6 needs an MTU of %d bytes, but it has %d", minMTU6, mtu), nil, `set "mtu", or raise the NIC's MTU on the host`)
	}
	if err := o.configure(r, pod, moved, p); err != nil {
		return nil, err
	}
	for i, route := range address.Routes {
		route.Priority = p.routes[i].Priority // the one it got
	}
	if r.NIC.RDMA != nil {
		err := o.settle(r, pod, subsystem, p)
		if err != nil && o.goesWithout(r, err) {
			err = o.goWithout(r)
		}
		if err != nil {
			return nil, fail(codeMoveRDMA, r.Host.Name, "wait for its RDMA device in the pod", err,
				`can its driver move it to another namespace? The kernel's Soft-RoCE cannot; "rdma": "optional" attaches the NIC without it`)
		}
	}
	r.Step = attachment.Attached
	if err := o.journal.Update(r); err != nil {
		return nil, fail(codeJournal, r.Host.Name, "write down that the pod has it", err, "mount the state folder "+o.policy.StateDir+", or free space on it")
	}
	return o.result(r, moved, address), nil
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
	r.NIC.Netdev.AwayIndex = moved.Attrs().Index // for a virtual one, whose address the pod may change
	if len(sysctls) > 0 {
		if err := pod.SetUp(moved); err != nil {
			return nil, fail(codeMove, name, "set it up in the pod", err, "see the kernel log for the driver's reason")
		}
	}
	return moved, nil
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
// ADD, together with what could not be undone. In that case the record stays,
// and DEL, GC or the next ADD tries again.
func (o *operation) undo(r *attachment.Record, cause error) error {
	err := o.release(r)
	if err == nil {
		return cause
	}
	o.logFor(r).Error("undoing the failed ADD", "err", err)
	var failed *types.Error
	if errors.As(cause, &failed) {
		failed.Details += "; undoing it failed, too: " + err.Error()
	}
	return cause
}
