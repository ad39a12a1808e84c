package deviceplugin

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// forgetPath is where the probe socket takes the name of a device to forget.
const forgetPath = "POST /forget"

// longestName is that of a device: the kernel's is 64 bytes.
const longestName = 256

// A forgetting asks to forget a device that is gone for good, so that it is no
// longer counted and alerted on: a NIC that was taken out of the machine looks
// like one that died.
type forgetting struct {
	device string
	answer chan error
}

// serveForget takes the name of the device in the request's body.
func (m *manager) serveForget(w http.ResponseWriter, r *http.Request) {
	name, err := io.ReadAll(io.LimitReader(r.Body, longestName))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	f := forgetting{strings.TrimSpace(string(name)), make(chan error, 1)}
	select {
	case m.forgets <- f:
	case <-r.Context().Done():
		return
	}
	if err := <-f.answer; err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return
	}
	_, _ = w.Write([]byte("ok\n"))
}

// forget forgets the device with a name, which may be that of the RDMA device,
// its address or a netdev. It must be gone, and no pod may have it, or the next
// look would find it again.
func (m *manager) forget(name string) error {
	var gone []string
	// Another device may have the name by now.
	present := slices.IndexFunc(m.seen.Devices, func(d inventory.Device) bool { return d.Place == inventory.Gone && isCalled(d, name) }) < 0
	for _, d := range m.seen.Devices {
		if d.Place == inventory.Gone {
			gone = append(gone, d.Name)
		}
		if !isCalled(d, name) || !present && d.Place != inventory.Gone {
			continue
		}
		switch {
		case d.Place != inventory.Gone:
			return fmt.Errorf("%s is present (%s); only a device that is gone can be forgotten", d, where(d))
		case d.Holder != nil:
			return fmt.Errorf("%s has %s; delete the pod first", d.Holder.Holder(), d)
		}
		if err := m.inventory.Forget(d); err != nil {
			return err
		}
		m.log.Info("device forgotten on request", "device", d.String())
		return nil
	}
	return fmt.Errorf("no device is called %q; gone: %s", name, orDash(strings.Join(gone, ", ")))
}

// isCalled tells whether a device has a name: its own, its address or a netdev's.
func isCalled(d inventory.Device, name string) bool {
	return name != "" && (name == d.Name || name == d.Address || slices.Contains(d.Netdevs, name))
}
