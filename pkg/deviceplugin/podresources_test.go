package deviceplugin

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// fakePods answers as a kubelet that has these pods, or that fails.
type fakePods struct {
	podresources.PodResourcesListerClient
	pods []*podresources.PodResources
	err  error
	wait time.Duration // that it was given; 0 for no end
}

func (f *fakePods) List(ctx context.Context, _ *podresources.ListPodResourcesRequest, _ ...grpc.CallOption) (*podresources.ListPodResourcesResponse, error) {
	if end, ok := ctx.Deadline(); ok {
		f.wait = time.Until(end)
	}
	return &podresources.ListPodResourcesResponse{PodResources: f.pods}, f.err
}

func TestEveryUnitOfOursIsHeldByItsContainer(t *testing.T) {
	of := func(resource string, ids ...string) *podresources.ContainerDevices {
		return &podresources.ContainerDevices{ResourceName: resource, DeviceIds: ids}
	}
	container := func(name string, devices ...*podresources.ContainerDevices) *podresources.ContainerResources {
		return &podresources.ContainerResources{Name: name, Devices: devices}
	}
	f := &fakePods{pods: []*podresources.PodResources{
		{Namespace: "n1", Name: "p1", Containers: []*podresources.ContainerResources{
			container("none"), container("c1", of("nvidia.com/gpu", "0"), of("rdma/a", "0", "1"), of("rdma/b", "0")), container("c2", of("rdma/a", "2"))}},
		{Namespace: "n2", Name: "p2", Containers: []*podresources.ContainerResources{container("c3", of("rdma/a", "3"))}},
	}}
	h := &holders{client: f, offers: func(resource string) bool { return resource != "nvidia.com/gpu" }}
	want := []heldUnit{{"rdma/a", "0", "n1", "p1", "c1"}, {"rdma/a", "1", "n1", "p1", "c1"}, {"rdma/b", "0", "n1", "p1", "c1"},
		{"rdma/a", "2", "n1", "p1", "c2"}, {"rdma/a", "3", "n2", "p2", "c3"}}
	if got := h.units(t.Context()); !slices.Equal(got, want) {
		t.Errorf("%q\nwant %q", got, want)
	}
	if f.wait <= 0 || f.wait > podResourcesWait {
		t.Errorf("a scrape waits for the kubelet for %s", f.wait)
	}
	if f.err = errors.New("it is away"); len(h.units(t.Context())) > 0 {
		t.Error("a kubelet that does not answer has units")
	}
}
