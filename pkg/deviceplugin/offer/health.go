package offer

import (
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// SettleTime is how long a device must be well, or ill, before the kubelet
// hears of it. A move to another namespace takes all character devices away for
// some tens of milliseconds, and a link may flap.
const SettleTime = 2 * time.Second

// Ailment says what is wrong with a device, "" if nothing is.
func Ailment(d inventory.Device, policy config.HealthPolicy) string {
	switch {
	case policy == config.HealthIgnore:
		return ""
	case d.Place == inventory.Gone:
		return "the hardware or its driver is gone"
	case d.Uverbs() == "":
		return "it has no uverbs character device"
	case d.Place == inventory.OnHost && !d.Soft && d.Driver == "":
		return "no driver is bound to it"
	case policy == config.HealthLink && d.Visible:
		// The link of a device that only its pod sees is the pod's to watch.
		return noLink(d)
	}
	return ""
}

// noLink says why a device has no link. One port is enough.
func noLink(d inventory.Device) string {
	why := ""
	if len(d.Ports) == 0 {
		why = "it has no port yet"
	}
	for _, p := range d.Ports {
		switch {
		case p.State == "" && why == "":
			why = "the state of its port cannot be read"
		case p.State == "":
		case p.State == "ACTIVE" && (p.PhysState == "LinkUp" || p.PhysState == ""):
			if d.Place == inventory.OnHost && d.IsRoCE() && d.NoCarrier {
				return "its netdev has no carrier"
			}
			return ""
		case why == "":
			why = "its port is " + p.State + ", " + p.PhysState
		}
	}
	return why
}

// Health remembers how devices are, to ignore what soon passes.
type Health struct {
	settle time.Duration
	states map[string]*condition
}

// A condition is what was said of one device, and since when something else is
// true.
type condition struct {
	why   string // what is wrong, as last settled; "" if nothing
	since time.Time
	turns bool // what is true now differs from why
	well  bool // it was well once
}

// NewHealth starts one that believes what has been true for the time settle.
func NewHealth(settle time.Duration) *Health {
	return &Health{settle: settle, states: map[string]*condition{}}
}

// Judge takes what is wrong with a device now and returns what is wrong with
// it for good; news tells whether that is another answer than last time. The
// first answer about a device holds at once, and so does the first time that
// it is well: its driver may just be starting.
func (h *Health) Judge(key, why string, now time.Time) (settled string, news bool) {
	c := h.states[key]
	switch {
	case c == nil:
		h.states[key] = &condition{why: why, well: why == ""}
		return why, why != ""
	case (c.why == "") == (why == ""):
		c.turns, c.why = false, why
	case !c.well, c.turns && now.Sub(c.since) >= h.settle:
		c.turns, c.why, c.well = false, why, true
		return why, true
	case !c.turns:
		c.turns, c.since = true, now
	}
	return c.why, false
}

// Next is the time at which a condition that turned may have settled, the zero
// time if none turned.
func (h *Health) Next() time.Time {
	var next time.Time
	for _, c := range h.states {
		if due := c.since.Add(h.settle); c.turns && (next.IsZero() || due.Before(next)) {
			next = due
		}
	}
	return next
}

// Forget drops what is known of devices that are no longer in any resource.
func (h *Health) Forget(keep map[string]bool) {
	for key := range h.states {
		if !keep[key] {
			delete(h.states, key)
		}
	}
}
