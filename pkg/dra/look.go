package dra

import (
	"context"
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	resourceapi "k8s.io/api/resource/v1"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

const (
	// lookAgain is the pause after the node could not be read, restSoon after a
	// look that saw an incomplete device.
	lookAgain = 5 * time.Second
	restSoon  = time.Second
	// watchAgain is the pause between looks at the configuration without an event.
	watchAgain = 30 * time.Second
	// longLook is how long one takes after which nobody knows how the devices are.
	longLook = 30 * time.Second
)

// loop is the one place where the node is looked at and the configuration changes.
func (d *driver) loop(ctx context.Context, running *sync.WaitGroup) {
	running.Go(func() { d.inventory.Watch(ctx, func() { watch.Poke(d.events) }) })
	reloads := make(chan struct{}, 1)
	for _, file := range []string{d.options.ConfigFile, d.options.AttributesFile} {
		folder := watch.Folder{Dir: filepath.Dir(file), Every: watchAgain, Log: d.log}
		if file != "" {
			running.Go(func() { folder.Run(ctx, func() { watch.Poke(reloads) }) })
		}
	}
	soon := time.After(0)
	last := time.Duration(0) // what the last look took
	for {
		var tick <-chan time.Time
		if d.config.PeriodicUpdateInterval > 0 {
			tick = time.After(d.config.PeriodicUpdateInterval)
		}
		var settled <-chan time.Time
		if due := d.health.Next(); !due.IsZero() {
			settled = time.After(max(time.Until(due), time.Millisecond))
		}
		var asker chan *view
		select {
		case <-ctx.Done():
			return
		case <-d.events:
			if soon == nil {
				soon = time.After(watch.Rest(last))
			}
			continue
		case <-reloads:
			if !d.reload() {
				continue
			}
		case asker = <-d.asks:
		case <-soon:
		case <-tick:
		case <-settled:
		}
		begin := time.Now()
		v, partial := d.look(ctx)
		if ctx.Err() != nil {
			return
		}
		if asker != nil {
			asker <- v
		}
		last, soon = time.Since(begin), nil
		d.options.Metrics.looked(v, last)
		switch {
		case v == nil:
			soon = time.After(lookAgain)
		case partial:
			soon = time.After(restSoon)
		}
	}
}

// reload takes changed files. With a mistake in one, the old ones stay in force.
func (d *driver) reload() bool {
	config, err := readFiles(d.options.ConfigFile, d.options.AttributesFile)
	if err == nil && len(config.Faults.Mistakes()) > 0 {
		err = config.Faults.Mistakes()
	}
	switch {
	case err != nil:
		if d.said("configuration", err.Error()) {
			d.log.Error("the changed configuration is invalid; the old one stays in force", "err", err)
		}
		return false
	case config.text == d.config.text:
		d.said("configuration", "")
		return false
	}
	d.said("configuration", "")
	d.config = config
	d.config.report(d.log)
	d.log.Info("configuration reloaded", "file", d.options.ConfigFile)
	return true
}

// look reads the node, and has everything that is said of it follow. When the
// node, or what is written of claims, cannot be read all stays as it is.
func (d *driver) look(ctx context.Context) (v *view, partial bool) {
	d.busy.Store(time.Now().UnixNano())
	seen, err := d.inventory.Read(ctx)
	d.busy.Store(0)
	if err == nil {
		err = seen.Unnamed
	}
	if err != nil {
		if ctx.Err() == nil && d.said("look", err.Error()) {
			d.log.Error("cannot read the node's RDMA devices; the ResourceSlices stay as they are", "err", err)
		}
		return nil, false
	}
	d.said("look", "")
	d.inventory.Remember(seen)
	d.writing.Lock()
	defer d.writing.Unlock()
	claims, _, err := claim.List(d.options.StateDir)
	if err != nil { // without them all NICs in pods would look as if taken
		d.saidOfClaims(err)
		return nil, false
	}
	v = d.see(seen, claims)
	d.show(v)
	var offered []resourceapi.Device
	for _, of := range v.devices {
		offered = append(offered, of.inSlice(d.options.Node, d.config.extras))
	}
	d.offer(offered)
	d.followClaims(v, claims)
	return v, seen.Partial
}

// see makes a view of what was seen.
func (d *driver) see(seen inventory.Snapshot, claims []claim.Claim) *view {
	v := &view{at: time.Now(), seen: seen.Devices, held: seen.Held}
	_, v.connectionManager = d.options.Node.ConnectionManager()
	chosen, clashes := offer.Assign(d.config.Resources, seen.Devices)
	for _, c := range clashes {
		if err := c.Err(d.options.ConfigFile); d.said(err.Error(), "clash") {
			d.log.Error("only the first of two resources gets a device that both select", "err", err)
		}
	}
	var all []inventory.Device
	for _, r := range d.config.Resources {
		all = append(all, chosen[r.Name]...)
	}
	rails := inventory.Rails(d.options.Node, all)
	known, names := map[string]bool{}, map[string]bool{}
	for _, r := range d.config.Resources {
		for _, of := range chosen[r.Name] {
			name := deviceName(of)
			why := unfit(of)
			if why == "" && names[name] {
				why = "another device is called " + name
			}
			if why != "" {
				if d.said("unfit "+of.Key(), why) {
					d.log.Info("a device cannot be allocated by itself and is left out", "device", of.String(), "because", why)
				}
				continue
			}
			known[of.Key()], names[name] = true, true
			v.devices = append(v.devices, device{
				Device: of, name: name, resource: r.Single(), rail: rails[of.Key()],
				ill: d.judge(of, r.HealthPolicy), taken: of.Place == inventory.InPod && !isClaimed(of, claims) && !isBack(of, seen),
			})
		}
	}
	d.health.Forget(known)
	inOrder(v.devices)
	return v
}

// isClaimed tells whether who has a device has it by a claim.
func isClaimed(of inventory.Device, claims []claim.Claim) bool {
	return of.Holder != nil && slices.ContainsFunc(claims, func(c claim.Claim) bool {
		return c.Pod.UID == of.Holder.Pod.UID && c.Has(of.Bus, of.Address)
	})
}

// isBack tells whether a device's NIC came back without a DEL. The next ADD puts
// it right, and so must be able to come.
func isBack(of inventory.Device, seen inventory.Snapshot) bool {
	return of.Holder != nil && slices.ContainsFunc(seen.Stranded(), func(r *attachment.Record) bool { return r.ID() == of.Holder.ID() })
}

// judge says what is wrong with a device for good, and logs when that changes.
func (d *driver) judge(of inventory.Device, policy config.HealthPolicy) ailment {
	settled, news := d.health.Judge(of.Key(), diagnose(of, policy).String(), time.Now())
	ill := parseAilment(settled)
	switch {
	case news && settled != "":
		d.log.Warn("device degraded", "device", of.String(), "place", of.Place, "because", ill.why)
	case news:
		d.log.Info("device recovered", "device", of.String(), "place", of.Place)
	}
	return ill
}

// show replaces the view.
func (d *driver) show(v *view) {
	d.mu.Lock()
	defer d.mu.Unlock()
	before := d.view
	d.view = v
	if before == nil || !maps.Equal(before.ills(), v.ills()) {
		close(d.changed)
		d.changed = make(chan struct{})
	}
}

// followClaims keeps what is written of claims in step with the node: a move in
// exclusive mode makes a device's character devices anew.
func (d *driver) followClaims(v *view, claims []claim.Claim) {
	var err error
	for _, c := range claims {
		spec, lacks := d.specOf(v, c)
		if lacks == nil { // else the old one is as good
			err = errors.Join(err, d.specFile(c.UID).Write(spec))
		}
	}
	d.saidOfClaims(err)
	d.reporter.want(statusesOf(claims, v.held, d.options.NodeName))
}

// saidOfClaims logs why claims cannot be followed, when that is news.
func (d *driver) saidOfClaims(err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if d.said("claims", failure) && err != nil {
		d.log.Error("containers of claims may not get their devices", "err", err)
	}
}
