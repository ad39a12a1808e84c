package deviceplugin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

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

func TestWhoNoLongerWaitsToHaveADeviceForgottenIsNotWaitedFor(t *testing.T) {
	m := &manager{forgets: make(chan forgetting)} // which nobody takes: a look hangs
	ctx, stop := context.WithCancel(t.Context())
	stop()
	served := make(chan struct{})
	go func() {
		m.serveForget(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodPost, "/forget", strings.NewReader("mlx5_0")))
		close(served)
	}()
	select {
	case <-served:
	case <-time.After(20 * time.Second):
		t.Error("it still waits")
	}
}
