package deviceplugin

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// holders collects which pod holds each unit, by asking the kubelet at each
// scrape. It needs the kubelet's pod-resources socket; without it there is
// nothing to report.
type holders struct {
	client podresources.PodResourcesListerClient
	// offers tells whether a resource is one of ours.
	offers func(resource string) bool
	held   *prometheus.Desc
}

// podResourcesWait bounds the kubelet's answer, and so a scrape.
const podResourcesWait = 2 * time.Second

func newHolders(socket string, offers func(string) bool) (*holders, *grpc.ClientConn, error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	return &holders{
		client: podresources.NewPodResourcesListerClient(conn),
		offers: offers,
		held: prometheus.NewDesc(namespace+"_unit_holder", "1 for each unit that a container holds, as the kubelet says.",
			[]string{"resource", "unit", "pod_namespace", "pod", "container"}, nil),
	}, conn, nil
}

// Describe implements prometheus.Collector.
func (h *holders) Describe(ch chan<- *prometheus.Desc) { ch <- h.held }

// Collect implements prometheus.Collector.
func (h *holders) Collect(ch chan<- prometheus.Metric) {
	for _, u := range h.units(context.Background()) {
		metric, err := prometheus.NewConstMetric(h.held, prometheus.GaugeValue, 1, u.resource, u.id, u.namespace, u.pod, u.container)
		if err == nil {
			ch <- metric
		}
	}
}

// A heldUnit is a unit that a container has.
type heldUnit struct{ resource, id, namespace, pod, container string }

// units asks the kubelet who has our units. It says nothing if it is away, or
// its socket not mounted.
func (h *holders) units(ctx context.Context) (held []heldUnit) {
	ctx, cancel := context.WithTimeout(ctx, podResourcesWait)
	defer cancel()
	list, err := h.client.List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		return nil
	}
	for _, pod := range list.PodResources {
		for _, container := range pod.Containers {
			for _, devices := range container.Devices {
				if !h.offers(devices.ResourceName) {
					continue
				}
				for _, id := range devices.DeviceIds {
					held = append(held, heldUnit{devices.ResourceName, id, pod.Namespace, pod.Name, container.Name})
				}
			}
		}
	}
	return held
}
