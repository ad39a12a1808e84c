package kubelet

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// dialTimeout is how long the kubelet tries to reach a plugin that registers.
const dialTimeout = 10 * time.Second

// registration is the service on kubelet.sock.
type registration struct {
	pluginapi.UnimplementedRegistrationServer
	kubelet *Kubelet
	run     *run
}

// Register connects to the plugin that asks for it. The options come from the plugin, not from the request.
func (s *registration) Register(ctx context.Context, request *pluginapi.RegisterRequest) (*pluginapi.Empty, error) {
	log := s.kubelet.log.With("resource", request.ResourceName, "endpoint", request.Endpoint)
	p, err := s.connect(ctx, request)
	if err != nil {
		log.Warn("registration refused", "error", err)
		return nil, err
	}
	log.Info("registered")
	s.run.wg.Go(func() {
		err := s.kubelet.watch(s.run.ctx, p)
		log.Info("plugin gone", "reason", err)
	})
	return &pluginapi.Empty{}, nil
}

func (s *registration) connect(ctx context.Context, request *pluginapi.RegisterRequest) (*plugin, error) {
	if !slices.Contains(pluginapi.SupportedVersions[:], request.Version) {
		return nil, fmt.Errorf("requested API version %q is not supported by kubelet. Supported version is %q", request.Version, pluginapi.SupportedVersions)
	}
	if !isExtendedResourceName(request.ResourceName) {
		return nil, fmt.Errorf("the ResourceName %q is invalid", request.ResourceName)
	}
	p, err := dial(ctx, request.ResourceName, filepath.Join(s.kubelet.dir, request.Endpoint))
	if err != nil {
		return nil, err
	}
	if err := s.kubelet.connected(p); err != nil {
		return nil, errors.Join(err, p.connection.Close())
	}
	return p, nil
}

// plugin is a connected device plugin.
type plugin struct {
	resource, socket string
	connection       *grpc.ClientConn
	api              pluginapi.DevicePluginClient
	options          *pluginapi.DevicePluginOptions
}

// dial returns once the plugin has answered.
func dial(ctx context.Context, resource, socket string) (*plugin, error) {
	connection, err := grpc.NewClient("passthrough:///"+socket,
		grpc.WithAuthority("localhost"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, path string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}))
	if err != nil {
		return nil, fmt.Errorf("failed to dial device plugin: %w", err)
	}
	p := &plugin{resource: resource, socket: socket, connection: connection, api: pluginapi.NewDevicePluginClient(connection)}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	p.options, err = p.api.GetDevicePluginOptions(ctx, &pluginapi.Empty{}, grpc.WaitForReady(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("failed to get device plugin options: %w", err), connection.Close())
	}
	return p, nil
}

// preferred is the plugin's own choice of n devices, if it has one.
func (p *plugin) preferred(available []string, n int) ([]string, error) {
	if !p.options.GetGetPreferredAllocationAvailable() {
		return nil, nil
	}
	response, err := p.api.GetPreferredAllocation(context.Background(), &pluginapi.PreferredAllocationRequest{
		ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{{AvailableDeviceIDs: available, AllocationSize: int32(n)}},
	})
	if err != nil {
		return nil, fmt.Errorf("device plugin GetPreferredAllocation rpc failed with err: %w", err)
	}
	if len(response.ContainerResponses) == 0 {
		return nil, nil
	}
	return response.ContainerResponses[0].DeviceIDs, nil
}

func (p *plugin) allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	response, err := p.api.Allocate(context.Background(), &pluginapi.AllocateRequest{
		ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: ids}},
	})
	if err != nil {
		return nil, err
	}
	if len(response.ContainerResponses) == 0 {
		return nil, errors.New("no containers return in allocation response")
	}
	return response.ContainerResponses[0], nil
}

// connected makes a plugin the one that is asked for its resource's devices.
func (k *Kubelet) connected(p *plugin) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.resources[p.resource]
	if !ok {
		r = &resource{healthy: map[string]bool{}, held: map[string]bool{}, plugins: map[string]*plugin{}}
		k.resources[p.resource] = r
	}
	if _, there := r.plugins[p.socket]; there {
		return fmt.Errorf("device plugin already connected: %s", p.socket)
	}
	r.plugins[p.socket] = p
	r.primary = p
	r.registrations++
	k.notify()
	return nil
}

// watch takes the plugin's messages until its stream ends, and says why it ended.
func (k *Kubelet) watch(ctx context.Context, p *plugin) error {
	defer k.disconnected(p)
	stream, err := p.api.ListAndWatch(ctx, &pluginapi.Empty{})
	if err != nil {
		return err
	}
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		k.update(p.resource, message.Devices)
	}
}

// update replaces the resource's devices.
func (k *Kubelet) update(resource string, devices []*pluginapi.Device) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.resources[resource]
	r.healthy = map[string]bool{}
	for _, device := range devices {
		r.healthy[device.ID] = device.Health == pluginapi.Healthy
	}
	r.messages++
	k.notify()
}

// disconnected lets another plugin of the resource take over, or makes its devices unhealthy if it was the last.
func (k *Kubelet) disconnected(p *plugin) {
	if err := p.connection.Close(); err != nil {
		k.log.Debug("closing the connection to a plugin", "resource", p.resource, "error", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	r := k.resources[p.resource]
	delete(r.plugins, p.socket)
	r.primary = nil
	for _, other := range r.plugins {
		r.primary = other
	}
	if r.primary == nil {
		for id := range r.healthy {
			r.healthy[id] = false
		}
	}
	k.notify()
}

// isExtendedResourceName has the kubelet's rules: a domain that is not Kubernetes' own, a slash, and a name.
func isExtendedResourceName(name string) bool {
	domain, rest, ok := strings.Cut("requests."+name, "/")
	if !ok || strings.Contains(name, "kubernetes.io/") || strings.HasPrefix(name, "requests.") || len(domain) > 253 || len(rest) > 63 {
		return false
	}
	label := `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
	isDomain, err := regexp.MatchString(`^`+label+`(\.`+label+`)*$`, domain)
	isName, nameErr := regexp.MatchString(`^([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]$`, rest)
	return err == nil && nameErr == nil && isDomain && isName
}
