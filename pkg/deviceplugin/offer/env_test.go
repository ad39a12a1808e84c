package offer

import (
	"encoding/json"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestOnlyADeviceOfAPCIFunctionHasAPCIAddressInItsDescription(t *testing.T) {
	card := sysfs.MLX5(0)
	sub := sysfs.SF(card, 2, 9)
	n := newTestNode(t, card, sub)
	var described []describedDevice
	n.Must(json.Unmarshal([]byte(environment(n.candidates())["RDMA_DEVICES"]), &described))
	for i, want := range []describedDevice{{RDMA: card.RDMA, PCI: card.PCI}, {RDMA: sub.RDMA}} {
		if got := described[i]; got.RDMA != want.RDMA || got.PCI != want.PCI {
			t.Errorf("%+v, want %+v", got, want)
		}
	}
}
