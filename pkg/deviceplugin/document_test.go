package deviceplugin

import (
	"context"
	"testing"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
)

func TestTheDocumentHasEveryMetricWithItsTypeAndLabels(t *testing.T) {
	const page = "../../docs/device-plugin.md"
	var code []string
	for name, f := range scrape(t, everyMetric(t)) {
		var labels []string
		for _, l := range f.Metric[0].GetLabel() {
			labels = append(labels, l.GetName())
		}
		code = append(code, document.Metric(name, f.GetType().String(), labels))
	}
	document.Compare(t, page, document.Metrics(t, page, "| metric | type | labels | |"), code)
}

// everyMetric has a value for each metric.
func everyMetric(t *testing.T) *metrics {
	t.Helper()
	m := newMetrics("v1")
	m.introduce(hcaGPU)
	m.offered(hcaGPU, []offer.Candidate{sick("mlx5_0", "ens0")}, offer.Offer{})
	h, conn, err := newHolders("/nowhere", func(string) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	h.client = oneUnit{}
	m.registry.MustRegister(h, memlock.NewCollector(namespace, serveMemlock(t, memlock.New(memlock.Options{}))))
	return m
}

// oneUnit is a kubelet of which one container has a unit.
type oneUnit struct {
	podresources.PodResourcesListerClient
}

func (oneUnit) List(context.Context, *podresources.ListPodResourcesRequest, ...grpc.CallOption) (*podresources.ListPodResourcesResponse, error) {
	devices := []*podresources.ContainerDevices{{ResourceName: hcaGPU, DeviceIds: []string{"0"}}}
	containers := []*podresources.ContainerResources{{Name: "main", Devices: devices}}
	return &podresources.ListPodResourcesResponse{PodResources: []*podresources.PodResources{{Name: "pod", Namespace: "default", Containers: containers}}}, nil
}
