package dra

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	resourceapi "k8s.io/api/resource/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/dynamic-resource-allocation/kubeletplugin"
	"k8s.io/utils/ptr"
	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/specfile"
)

// PrepareResourceClaims writes down what the claims' pods are to get. All that it
// does is in two files for each claim, which say the same when it is called
// again: it needs no checkpoint.
func (d *driver) PrepareResourceClaims(ctx context.Context, claims []*resourceapi.ResourceClaim) (map[types.UID]kubeletplugin.PrepareResult, error) {
	results := map[types.UID]kubeletplugin.PrepareResult{}
	for _, c := range claims {
		begin := time.Now()
		devices, err := d.prepare(ctx, c)
		timed(d.options.Metrics.prepareTime, begin, err)
		if err != nil {
			err = fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err)
			d.log.Warn("a claim cannot be prepared", "err", err)
		}
		results[c.UID] = kubeletplugin.PrepareResult{Err: err, Devices: devices}
	}
	return results, nil
}

// readyWait is how long a device may be without its character devices: while it
// moves, or while the driver makes them.
const readyWait = 2 * time.Second

func (d *driver) prepare(ctx context.Context, c *resourceapi.ResourceClaim) ([]kubeletplugin.Device, error) {
	pod, err := podOf(c)
	if err != nil {
		return nil, err
	}
	if err := d.options.Chained(); err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(readyWait); ; {
		v, err := d.fresh(ctx)
		if err != nil {
			return nil, err
		}
		prepared, spec, err := d.resolve(v, c, pod)
		if lack := (*lackError)(nil); errors.As(err, &lack) && time.Now().Before(deadline) {
			select {
			case <-ctx.Done():
				return nil, err
			case <-time.After(readyWait / 20):
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := d.free(ctx, prepared); err != nil {
			return nil, err
		}
		return d.write(prepared, spec)
	}
}

// podOf is the pod that a claim is for. The NIC moves into one pod: a claim that
// several share could not be kept to more than the first.
func podOf(c *resourceapi.ResourceClaim) (pod attachment.Pod, err error) {
	if n := len(c.Status.ReservedFor); n != 1 {
		return pod, fmt.Errorf("%d pods share it, and a NIC can be in one only; give each a claim of its own with a ResourceClaimTemplate", n)
	}
	consumer := c.Status.ReservedFor[0]
	if consumer.APIGroup != "" || consumer.Resource != "pods" {
		return pod, fmt.Errorf("it is reserved for %s %s, which is no pod", consumer.Resource, consumer.Name)
	}
	return attachment.Pod{Namespace: c.Namespace, Name: consumer.Name, UID: string(consumer.UID)}, nil
}

// A lackError is of a device that has nothing to give, perhaps only just now.
type lackError struct{ what string }

func (e *lackError) Error() string { return e.what }

// resolve finds the devices that are allocated to a claim.
func (d *driver) resolve(v *view, c *resourceapi.ResourceClaim, pod attachment.Pod) (prepared claim.Claim, spec *specs.Spec, err error) {
	prepared = claim.Claim{UID: string(c.UID), Namespace: c.Namespace, Name: c.Name, Pod: pod}
	for _, r := range c.Status.Allocation.Devices.Results {
		if r.Driver != DriverName {
			continue
		}
		if ptr.Deref(r.AdminAccess, false) {
			return prepared, nil, fmt.Errorf("request %s has adminAccess, and a NIC cannot be looked at without being moved; take it out", r.Request)
		}
		found := v.find(r.Device)
		if r.Pool != d.options.NodeName || found == nil {
			return prepared, nil, fmt.Errorf("device %s of pool %s is not on this node any more", r.Device, r.Pool)
		}
		network, err := networkOf(c.Status.Allocation, r.Request, d.options.CheckNetwork)
		if err != nil {
			return prepared, nil, err
		}
		prepared.Devices = append(prepared.Devices, claim.Device{
			Request: r.Request, Name: found.name, Bus: found.Bus, Address: found.Address, Rail: found.rail, Network: network,
		})
	}
	spec, err = d.specOf(v, prepared)
	return prepared, spec, err
}

// hookTimeout is in seconds. The hook reads some files.
const hookTimeout = 10

// specOf is the CDI spec of a claim: the character devices, and a hook that lets
// no container start without the claim's NICs.
func (d *driver) specOf(v *view, c claim.Claim) (*specs.Spec, error) {
	given := make([]offer.Given, len(c.Devices))
	for n, of := range c.Devices {
		found := v.find(of.Name)
		if found == nil {
			return nil, &lackError{"device " + of.Name + " is not there any more"}
		}
		given[n] = offer.Given{Candidate: offer.Candidate{Device: found.Device, GIDIndex: -1}, Name: of.Name, Resource: found.resource}
		if index, ok := d.options.Node.IPv4GIDIndex(found.Device.Device); ok && found.resource.Env {
			given[n].GIDIndex = index
		}
	}
	spec, nothing := offer.ClaimCDI(c.UID, given, v.connectionManager)
	if nothing != "" {
		return nil, &lackError{nothing}
	}
	spec.ContainerEdits.Hooks = []*specs.Hook{{
		HookName: "createRuntime", Path: d.options.Hook, Args: []string{d.options.Hook, "attached", c.UID}, Timeout: ptr.To(hookTimeout),
	}}
	offer.StampCDI(spec)
	return spec, nil
}

// write writes down what the CNI plugin and the runtime are to do.
func (d *driver) write(c claim.Claim, spec *specs.Spec) ([]kubeletplugin.Device, error) {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := claim.Write(d.options.StateDir, c); err != nil {
		return nil, err
	}
	if err := d.specFile(c.UID).Write(spec); err != nil {
		return nil, err
	}
	var devices []kubeletplugin.Device
	for _, of := range c.Devices {
		devices = append(devices, kubeletplugin.Device{
			Requests: []string{of.Request}, PoolName: d.options.NodeName, DeviceName: of.Name,
			CDIDeviceIDs: []string{offer.QualifiedCDIName(offer.ClaimCDIName(c.UID, of.Name))},
		})
	}
	return devices, nil
}

func (d *driver) specFile(claimUID string) specfile.File {
	return specfile.ForOne(d.options.CDIDir, offer.CDIVendor, offer.CDIClass, claimUID)
}

// free refuses a claim whose devices another has. What is written of a claim
// that is gone, or has other devices by now, because the kubelet has lost its
// state, is removed.
func (d *driver) free(ctx context.Context, c claim.Claim) error {
	others, bad, err := claim.List(d.options.StateDir)
	if err != nil {
		return err
	}
	for _, b := range bad {
		d.log.Warn("a file of a claim cannot be used", "err", b)
	}
	for _, other := range others {
		shared := slices.IndexFunc(other.Devices, func(o claim.Device) bool { return c.Has(o.Bus, o.Address) })
		if other.UID == c.UID || shared < 0 {
			continue
		}
		now, err := d.options.Client.ResourceV1().ResourceClaims(other.Namespace).Get(ctx, other.Name, metav1.GetOptions{})
		switch {
		case apierrors.IsNotFound(err), err == nil && (string(now.UID) != other.UID || !d.allots(now, c)):
			if err := d.remove(other.UID); err != nil {
				return err
			}
		case err != nil:
			return fmt.Errorf("claim %s has device %s, and whether it still does cannot be asked: %w", other, other.Devices[shared].Name, err)
		default:
			return fmt.Errorf("claim %s has device %s", other, other.Devices[shared].Name)
		}
	}
	return nil
}

// allots tells whether Kubernetes has given another claim a device of c. A claim
// that outlives its pod may have been given others since, or those of another node.
func (d *driver) allots(other *resourceapi.ResourceClaim, c claim.Claim) bool {
	return other.Status.Allocation != nil && slices.ContainsFunc(other.Status.Allocation.Devices.Results, func(r resourceapi.DeviceRequestAllocationResult) bool {
		return r.Driver == DriverName && r.Pool == d.options.NodeName && slices.ContainsFunc(c.Devices, func(of claim.Device) bool { return of.Name == r.Device })
	})
}

// UnprepareResourceClaims undoes PrepareResourceClaims. The NICs are given back
// by the CNI plugin before: the kubelet unprepares after the sandbox ended.
func (d *driver) UnprepareResourceClaims(ctx context.Context, claims []kubeletplugin.NamespacedObject) (map[types.UID]error, error) {
	results := map[types.UID]error{}
	for _, c := range claims {
		begin := time.Now()
		err := d.unprepare(ctx, string(c.UID))
		timed(d.options.Metrics.unprepareTime, begin, err)
		if err != nil {
			err = fmt.Errorf("claim %s/%s: %w", c.Namespace, c.Name, err)
			d.log.Warn("a claim cannot be ended yet", "err", err)
		}
		results[c.UID] = err
	}
	return results, nil
}

func (d *driver) unprepare(ctx context.Context, uid string) error {
	all, _, err := claim.List(d.options.StateDir)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(c claim.Claim) bool { return c.UID == uid })
	if at >= 0 {
		if err := d.stillAway(ctx, all[at]); err != nil {
			return err
		}
	}
	return d.remove(uid)
}

// remove removes what is written of a claim, which begins with its spec: as long
// as the rest is there, the kubelet's next try ends it.
func (d *driver) remove(uid string) error {
	d.writing.Lock()
	defer d.writing.Unlock()
	if err := d.specFile(uid).Remove(); err != nil {
		return err
	}
	return claim.Remove(d.options.StateDir, uid)
}

// stillAway says which NIC of a claim is in its pod still. One that came back
// without a DEL, or is gone, is not: the rescue and the next ADD see to it.
func (d *driver) stillAway(ctx context.Context, c claim.Claim) error {
	records, _, err := d.journal.List()
	if err != nil {
		return err
	}
	links, err := d.links(ctx)
	if err != nil {
		return fmt.Errorf("list the host's links: %w", err)
	}
	for _, r := range records {
		ours := r.Pod.UID == c.Pod.UID && c.Has(r.NIC.Bus, r.NIC.Address)
		away := d.journal.Current(r) && r.Step != attachment.Returned && r.NIC.Netdev.OnHost(links) == nil
		if ours && away && d.options.Node.HasFunction(r.NIC.Bus, r.NIC.Address) {
			return fmt.Errorf("NIC %s is still in pod %s; its network must end first", r.Host.Name, c.Pod)
		}
	}
	return nil
}
