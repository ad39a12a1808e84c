package status

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	podresources "k8s.io/kubelet/pkg/apis/podresources/v1"
)

// longestAnswer is how long anybody is waited for.
const longestAnswer = 3 * time.Second

// A pod is one that the kubelet knows, with the units of its containers.
type pod struct {
	name  string // namespace/name
	units []Units
}

// askKubelet lists the pods of the node.
func askKubelet(ctx context.Context, socket string) (pods []pod, err error) {
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	answer, err := podresources.NewPodResourcesListerClient(conn).List(ctx, &podresources.ListPodResourcesRequest{})
	if err != nil {
		return nil, fmt.Errorf("it does not answer at %s: %s", socket, status.Convert(err).Message())
	}
	for _, p := range answer.PodResources {
		known := pod{name: p.Namespace + "/" + p.Name}
		for _, c := range p.Containers {
			for _, d := range c.Devices {
				known.units = append(known.units, Units{d.ResourceName, known.name, c.Name, d.DeviceIds})
			}
		}
		pods = append(pods, known)
	}
	return pods, nil
}

// unitsOf are those of resources that are ours. The kubelet tells of a resource
// once for each NUMA node.
func unitsOf(pods []pod, ours func(resource string) bool) []Units {
	all := []Units{}
	for _, p := range pods {
		for _, u := range p.units {
			at := slices.IndexFunc(all, func(have Units) bool {
				return have.Resource == u.Resource && have.Pod == u.Pod && have.Container == u.Container
			})
			switch {
			case !ours(u.Resource):
			case at < 0:
				all = append(all, u)
			default:
				all[at].IDs = append(all[at].IDs, u.IDs...)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b Units) int { return strings.Compare(a.Resource+" "+a.Pod, b.Resource+" "+b.Pod) })
	return all
}

// usualPrefix is that of the device plugin's resources if nothing else is said.
const usualPrefix = "rdma/"

// ours tells whether a resource is the device plugin's: as it says, or else by the
// usual prefix.
func (s *Status) ours() func(resource string) bool {
	return func(resource string) bool {
		if s.Plugin == nil {
			return strings.HasPrefix(resource, usualPrefix)
		}
		return slices.ContainsFunc(s.Plugin.Resources, func(r Resource) bool { return r.Name == resource })
	}
}
