package deviceplugin

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A pod can have a device whose hardware is gone.
func TestADeviceThatAPodHasIsNotForgotten(t *testing.T) {
	m := &manager{inventory: &inventory.Inventory{}}
	m.seen.Devices = []inventory.Device{{
		Device: rdma.Device{Name: "mlx5_0"}, Place: inventory.Gone,
		Holder: &attachment.Record{ContainerID: "c1", IfName: "net1", Pod: attachment.Pod{Namespace: "default", Name: "trainer-0"}},
	}}
	if err := m.forget("mlx5_0"); err == nil || !strings.Contains(err.Error(), " has mlx5_0; delete the pod first") {
		t.Errorf("%v", err)
	}
}
