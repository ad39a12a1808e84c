package offer

import (
	"fmt"
	"strings"
	"testing"

	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestAnOfferThatSaysTheSameIsNoNews(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	c := config.Resource{Mode: config.PerDevice, Units: 1, CharDevices: []config.CharDevice{config.Uverbs, config.RDMACM}}
	r := NewResource("a")
	r.Replace(New(c, n.candidates(), true, nil))
	_, changed := r.Devices()
	r.Replace(New(c, n.candidates(), false, nil))
	select {
	case <-changed:
		t.Error("news")
	default:
	}
	list, _ := r.Devices()
	answer, err := r.Allocate([]string{list[0].ID})
	n.Must(err)
	if len(answer.Devices) != 1 { // rdma_cm is gone
		t.Errorf("a container gets %v", answer.Devices)
	}
	ill := n.candidates()
	ill[0].Healthy = false
	r.Replace(New(c, ill, true, nil))
	<-changed
	if list, _ := r.Devices(); list[0].Health != pluginapi.Unhealthy {
		t.Errorf("got %v", list[0])
	}
}

func TestAnUnknownDeviceIDIsAnError(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	var candidates []Candidate
	for _, d := range n.look(n.inventory(nil)) {
		candidates = append(candidates, Candidate{Device: d, Healthy: true})
	}
	r := NewResource("rdma/hca_gpu")
	r.Replace(New(config.Resource{Name: "rdma/hca_gpu", Mode: config.Shared, Units: 8}, candidates, false, nil))
	for _, id := range []string{"8", "-1", "07", "", "0000:08:00.0"} {
		if _, err := r.Allocate([]string{"0", id}); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", id)) {
			t.Errorf("%q: %v", id, err)
		}
	}
}
