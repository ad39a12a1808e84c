package kubelet

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// A server is one life of a resource on one socket.
type server struct {
	pluginapi.UnimplementedDevicePluginServer

	resource Resource
	observer Observer
	log      *slog.Logger

	socket string // name in the folder
	grpc   *grpc.Server
	failed chan error // one error when the server ends before stop

	opened, ended         chan struct{} // closed when a first stream has
	openedOnce, endedOnce sync.Once
}

// serve starts a server on a fresh socket.
func serve(folder *Folder, r Resource, o Observer, log *slog.Logger) (*server, error) {
	listener, name, err := folder.listen()
	if err != nil {
		return nil, err
	}
	s := &server{
		resource: r, observer: o, log: log,
		socket: name, grpc: grpc.NewServer(), failed: make(chan error, 1),
		opened: make(chan struct{}), ended: make(chan struct{}),
	}
	pluginapi.RegisterDevicePluginServer(s.grpc, s)
	go func(l net.Listener) { s.failed <- s.grpc.Serve(l) }(listener)
	return s, nil
}

// stop ends the streams and removes the socket. It does not wait for calls
// that are being answered.
func (s *server) stop() { s.grpc.Stop() }

// ListAndWatch sends the list, and sends it again whenever it changes.
func (s *server) ListAndWatch(_ *pluginapi.Empty, stream grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	s.observer.StreamOpened(s.resource.Name())
	defer s.observer.StreamEnded(s.resource.Name())
	s.openedOnce.Do(func() { close(s.opened) })
	// Whichever stream ends: an idle registration is cheap, a lost one is not.
	defer s.endedOnce.Do(func() { close(s.ended) })
	for {
		devices, changed := s.resource.Devices()
		if err := stream.Send(&pluginapi.ListAndWatchResponse{Devices: devices}); err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return stream.Context().Err()
		case <-changed:
		}
	}
}

// Allocate answers for each container of the request.
func (s *server) Allocate(_ context.Context, request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	begin := time.Now()
	response, err := s.allocate(request)
	s.observer.Allocated(s.resource.Name(), time.Since(begin), err)
	return response, err
}

func (s *server) allocate(request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	response := &pluginapi.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		ids := container.DevicesIds
		c, err := s.resource.Allocate(ids)
		if err != nil {
			s.log.Error("cannot allocate", "devices", list(ids), "err", short(err.Error()))
			return nil, s.refuse(err)
		}
		s.log.Info("allocated", "devices", list(ids), "charDevices", len(c.Devices), "cdiDevices", len(c.CdiDevices))
		response.ContainerResponses = append(response.ContainerResponses, c)
	}
	return response, nil
}

// refuse answers that a call cannot be carried out as it is.
func (s *server) refuse(err error) error {
	return status.Error(codes.InvalidArgument, fmt.Sprintf("%s: %s", s.resource.Name(), short(err.Error())))
}

const (
	// longestText and mostIDs bound what a log line repeats of a request, which
	// may have megabytes of it.
	longestText = 300
	mostIDs     = 16
)

// list is IDs for a log line.
func list(ids []string) string {
	if n := len(ids) - mostIDs; n > 0 {
		return fmt.Sprintf("%s and %d more", short(strings.Join(ids[:mostIDs], ",")), n)
	}
	return short(strings.Join(ids, ","))
}

// short is a text, or its beginning.
func short(text string) string {
	if len(text) <= longestText {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:longestText], ""), len(text))
}

// GetDevicePluginOptions tells the kubelet which of the optional calls to make.
func (s *server) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return options(s.resource), nil
}

func options(r Resource) *pluginapi.DevicePluginOptions {
	_, prefers := r.(Preferrer)
	return &pluginapi.DevicePluginOptions{GetPreferredAllocationAvailable: prefers}
}

// GetPreferredAllocation answers even if the options say that nothing is
// preferred: with the first devices, as the kubelet itself would choose.
func (s *server) GetPreferredAllocation(_ context.Context, request *pluginapi.PreferredAllocationRequest) (*pluginapi.PreferredAllocationResponse, error) {
	response := &pluginapi.PreferredAllocationResponse{}
	for _, c := range request.ContainerRequests {
		ids, err := s.preferred(c)
		if err != nil {
			return nil, s.refuse(err)
		}
		response.ContainerResponses = append(response.ContainerResponses, &pluginapi.ContainerPreferredAllocationResponse{DeviceIDs: ids})
	}
	return response, nil
}

func (s *server) preferred(c *pluginapi.ContainerPreferredAllocationRequest) ([]string, error) {
	must, all := once(c.MustIncludeDeviceIDs), once(c.MustIncludeDeviceIDs, c.AvailableDeviceIDs)
	size := int(c.AllocationSize)
	if size < len(must) || size > len(all) {
		return nil, fmt.Errorf("cannot choose %d devices from %d, with %d of them required", size, len(all), len(must))
	}
	if p, ok := s.resource.(Preferrer); ok {
		return p.Preferred(c.AvailableDeviceIDs, must, size)
	}
	known := map[string]bool{}
	devices, _ := s.resource.Devices()
	for _, d := range devices {
		known[d.ID] = true
	}
	for _, id := range all {
		if !known[id] {
			return nil, fmt.Errorf("no device has the ID %q", id)
		}
	}
	return all[:size], nil
}

// once is the IDs of all lists in their order, each of them once.
func once(lists ...[]string) []string {
	var all []string
	seen := map[string]bool{}
	for _, id := range slices.Concat(lists...) {
		if !seen[id] {
			seen[id] = true
			all = append(all, id)
		}
	}
	return all
}

// PreStartContainer is not asked for by the options; whoever calls it gets
// the answer that there is nothing to do.
func (s *server) PreStartContainer(context.Context, *pluginapi.PreStartContainerRequest) (*pluginapi.PreStartContainerResponse, error) {
	return &pluginapi.PreStartContainerResponse{}, nil
}

// randomName has 65 random bits. The process ID would not do: in a
// container it is always 1.
func randomName() string { return strings.ToLower(rand.Text()[:13]) }
