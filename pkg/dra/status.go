package dra

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
)

// A status is what a claim is to say of the NICs that its pod has.
type status struct {
	claim   claim.Claim
	devices []resourceapi.AllocatedDeviceStatus
}

// statusesOf are those of the claims of which the pod has a NIC, by the claim's
// UID.
func statusesOf(claims []claim.Claim, held []*attachment.Record, pool string) map[string]status {
	all := map[string]status{}
	for _, c := range claims {
		s := status{claim: c}
		for _, d := range c.Devices {
			at := slices.IndexFunc(held, func(r *attachment.Record) bool {
				return r.Step == attachment.Attached && r.Pod.UID == c.Pod.UID && r.NIC.Bus == d.Bus && r.NIC.Address == d.Address
			})
			if at >= 0 {
				s.devices = append(s.devices, resourceapi.AllocatedDeviceStatus{Driver: DriverName, Pool: pool, Device: d.Name, NetworkData: networkData(held[at])})
			}
		}
		if len(s.devices) > 0 {
			all[c.UID] = s
		}
	}
	return all
}

func networkData(r *attachment.Record) *resourceapi.NetworkDeviceData {
	data := &resourceapi.NetworkDeviceData{InterfaceName: r.IfName, HardwareAddress: r.Host.MAC}
	for _, a := range r.Addresses {
		if len(data.IPs) < resourceapi.NetworkDeviceDataMaxIPs {
			data.IPs = append(data.IPs, a.String())
		}
	}
	return data
}

// statusAgain is the pause after a status that could not be written, which
// doubles up to statusLongest.
const (
	statusAgain   = time.Second
	statusLongest = 30 * time.Second
)

// A reporter writes the statuses of claims. Nothing waits for it: a pod has its
// NICs whether the API server can be reached or not.
type reporter struct {
	driver  *driver
	wanted  chan map[string]status // the newest, if not yet taken
	written map[string]status      // by the claim's UID
}

func newReporter(d *driver) *reporter {
	return &reporter{driver: d, wanted: make(chan map[string]status, 1), written: map[string]status{}}
}

// want has statuses written in place of what was wanted before.
func (r *reporter) want(all map[string]status) {
	select {
	case <-r.wanted:
	default:
	}
	r.wanted <- all // only the one loop calls this
}

func (r *reporter) run(ctx context.Context) {
	var all map[string]status
	var again <-chan time.Time
	pause := statusAgain
	for {
		select {
		case <-ctx.Done():
			return
		case all = <-r.wanted:
		case <-again:
		}
		again = nil
		err := r.write(ctx, all)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if r.driver.said("claim status", err.Error()) {
				r.driver.log.Warn("cannot write the status of a claim yet", "err", err)
			}
			again = time.After(pause)
			pause = min(2*pause, statusLongest)
		default:
			r.driver.said("claim status", "")
			pause = statusAgain
		}
	}
}

// write writes what has not been written.
func (r *reporter) write(ctx context.Context, all map[string]status) error {
	maps.DeleteFunc(r.written, func(uid string, _ status) bool { return len(all[uid].devices) == 0 })
	var errs []error
	for uid, s := range all {
		if apiequality.Semantic.DeepEqual(r.written[uid].devices, s.devices) {
			continue
		}
		if err := r.one(ctx, s); err != nil {
			errs = append(errs, fmt.Errorf("claim %s: %w", s.claim, err))
			continue
		}
		r.written[uid] = s
	}
	return errors.Join(errs...)
}

// one writes the status of a claim, beside that of other drivers. A claim that
// is gone, or given to somebody else, needs none.
func (r *reporter) one(ctx context.Context, s status) error {
	client := r.driver.options.Client.ResourceV1().ResourceClaims(s.claim.Namespace)
	c, err := client.Get(ctx, s.claim.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) || err == nil && (string(c.UID) != s.claim.UID || c.Status.Allocation == nil) {
		return nil
	}
	if err != nil {
		return err
	}
	devices := slices.Clone(c.Status.Devices)
	for _, d := range s.devices {
		at := slices.IndexFunc(devices, func(o resourceapi.AllocatedDeviceStatus) bool {
			return o.Driver == d.Driver && o.Pool == d.Pool && o.Device == d.Device
		})
		if at < 0 {
			devices = append(devices, d)
		} else {
			devices[at].NetworkData = d.NetworkData
		}
	}
	if apiequality.Semantic.DeepEqual(devices, c.Status.Devices) {
		return nil
	}
	c.Status.Devices = devices
	_, err = client.UpdateStatus(ctx, c, metav1.UpdateOptions{})
	return err
}
