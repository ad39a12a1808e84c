package kubelet

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

const hca = "rdma/hca_gpu"

func TestRegisteredDevicesBecomeAllocatable(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "p.sock", nil)
	p.send("0", "1", "2!")
	if err := register(t, dir, request("p.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 2)
	if capacity, _ := k.Allocatable(hca); capacity != 3 {
		t.Errorf("capacity %d, want 3: unhealthy devices count", capacity)
	}
	if r, m := k.Registrations(hca), k.Messages(hca); r != 1 || m != 1 {
		t.Errorf("%d registrations and %d messages, want 1 and 1", r, m)
	}
	p.send()
	await(t, k, 0)
	if capacity, _ := k.Allocatable(hca); capacity != 0 {
		t.Errorf("capacity %d after an empty list, want 0", capacity)
	}
}

func TestARegistrationThatTheKubeletWouldRefuseIsRefused(t *testing.T) {
	k, dir := start(t)
	serve(t, dir, "p.sock", nil)
	for _, test := range []struct {
		name, says string
		change     func(*pluginapi.RegisterRequest)
	}{
		{"another version", "not supported", func(r *pluginapi.RegisterRequest) { r.Version = "v1alpha1" }},
		{"a name without a domain", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "hca" }},
		{"a name of Kubernetes' own", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "x.kubernetes.io/hca" }},
		{"a name for quotas", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "requests.x/hca" }},
		{"a name with two slashes", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "rdma/hca/gpu" }},
		{"a domain in capitals", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "RDMA/hca" }},
		{"a name that is too long", "is invalid", func(r *pluginapi.RegisterRequest) { r.ResourceName = "rdma/" + strings.Repeat("h", 64) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request("p.sock")
			test.change(r)
			if err := register(t, dir, r); err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("got %v, want an error that says %q", err, test.says)
			}
		})
	}
	if n := k.Registrations(hca); n != 0 {
		t.Errorf("%d registrations were accepted", n)
	}
}

func TestRegisteringTwiceOnALiveSocketIsRefused(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "p.sock", nil)
	p.send("0")
	if err := register(t, dir, request("p.sock")); err != nil {
		t.Fatal(err)
	}
	if err := register(t, dir, request("p.sock")); err == nil || !strings.Contains(err.Error(), "already connected") {
		t.Errorf("got %v, want already connected", err)
	}
	await(t, k, 1)
}

func TestDevicesAreUnhealthyWhenTheirPluginEndsAndHealAtTheNextRegistration(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "a.sock", nil)
	p.send("0", "1")
	if err := register(t, dir, request("a.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 2)
	p.server.Stop()
	await(t, k, 0)
	if capacity, _ := k.Allocatable(hca); capacity != 2 {
		t.Errorf("capacity %d, want 2: it stays", capacity)
	}
	if _, _, err := k.Allocate(hca, 1); err == nil {
		t.Error("allocated from a plugin that is gone")
	}
	next := serve(t, dir, "b.sock", nil)
	next.send("0", "1")
	if err := register(t, dir, request("b.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 2)
}

func TestTheEndOfAnOldSocketDoesNotDisturbTheNewOne(t *testing.T) {
	k, dir := start(t)
	old, fresh := serve(t, dir, "a.sock", nil), serve(t, dir, "b.sock", nil)
	old.send("0")
	fresh.send("0", "1")
	for _, socket := range []string{"a.sock", "b.sock"} {
		if err := register(t, dir, request(socket)); err != nil {
			t.Fatal(err)
		}
	}
	await(t, k, 2)
	old.server.Stop()
	eventually(t, "the old plugin is gone", func() bool { k.mu.Lock(); defer k.mu.Unlock(); return len(k.resources[hca].plugins) == 1 })
	if _, ids, err := k.Allocate(hca, 2); err != nil || !slices.Equal(ids, []string{"0", "1"}) {
		t.Errorf("got %q, %v; want both devices", ids, err)
	}
}

func TestHeldDevicesAreNotGivenAgainUntilTheyAreFreed(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "p.sock", nil)
	p.send("0", "1", "2", "3!")
	if err := register(t, dir, request("p.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 3)
	response, ids, err := k.Allocate(hca, 2)
	if err != nil || !slices.Equal(ids, []string{"0", "1"}) || response.Envs["IDS"] != "0,1" {
		t.Fatalf("got %q, %v, %v; want 0 and 1", ids, response, err)
	}
	if _, ids, err := k.Allocate(hca, 2); err == nil {
		t.Errorf("allocated %q though one device was free", ids)
	}
	k.Free(hca, "0")
	if _, ids, err := k.Allocate(hca, 2); err != nil || !slices.Equal(ids, []string{"0", "2"}) {
		t.Errorf("got %q, %v; want 0 and 2", ids, err)
	}
	if _, allocatable := k.Allocatable(hca); allocatable != 3 {
		t.Errorf("allocatable %d, want 3: held devices count", allocatable)
	}
}

func TestThePluginsPreferenceIsFollowedAsFarAsDevicesAreFree(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "p.sock", []string{"3", "9", "2"})
	p.send("0", "1", "2", "3")
	if err := register(t, dir, request("p.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 4)
	if _, ids, err := k.Allocate(hca, 3); err != nil || !slices.Equal(ids, []string{"0", "2", "3"}) {
		t.Errorf("got %q, %v; want 3 and 2 as preferred, and 0", ids, err)
	}
}

func TestARestartDeletesSocketsAndForgetsDevicesButNotWhoHoldsThem(t *testing.T) {
	k, dir := start(t)
	p := serve(t, dir, "p.sock", nil)
	p.send("0", "1")
	if err := register(t, dir, request("p.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 2)
	if _, _, err := k.Allocate(hca, 1); err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(dir, "kubelet_internal_checkpoint")
	if err := os.WriteFile(other, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Restart(); err != nil {
		t.Fatal(err)
	}
	if capacity, allocatable := k.Allocatable(hca); capacity != 0 || allocatable != 0 {
		t.Errorf("%d of %d allocatable after the restart, want 0 of 0", allocatable, capacity)
	}
	if _, err := os.Stat(filepath.Join(dir, "p.sock")); !os.IsNotExist(err) {
		t.Errorf("the plugin's socket: %v, want it to be deleted", err)
	}
	if _, err := os.Stat(other); err != nil {
		t.Errorf("another file: %v, want it to be kept", err)
	}
	p = serve(t, dir, "q.sock", nil)
	p.send("0", "1")
	if err := register(t, dir, request("q.sock")); err != nil {
		t.Fatal(err)
	}
	await(t, k, 2)
	if _, ids, err := k.Allocate(hca, 1); err != nil || !slices.Equal(ids, []string{"1"}) {
		t.Errorf("got %q, %v; want 1, since 0 is held", ids, err)
	}
}

func TestAClosedKubeletLeavesASocketThatNobodyListensOn(t *testing.T) {
	k, dir := start(t)
	k.Close()
	if _, err := net.Dial("unix", filepath.Join(dir, "kubelet.sock")); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("got %v, want connection refused", err)
	}
}

func TestWaitingSaysWhatThereWasWhenTheTimeIsUp(t *testing.T) {
	k, _ := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if err := k.Wait(ctx, hca, 8); err == nil || !strings.Contains(err.Error(), "0 allocatable of 0, not 8") {
		t.Errorf("got %v", err)
	}
}

// start runs a stand-in in a folder whose path is short enough for sockets.
func start(t *testing.T) (*Kubelet, string) {
	t.Helper()
	dir := sockets.Folder(t)
	k, err := Start(dir, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k, dir
}

// devicePlugin is the least that can be registered.
type devicePlugin struct {
	pluginapi.UnimplementedDevicePluginServer
	server   *grpc.Server
	messages chan []*pluginapi.Device
	prefers  []string // nil: it has no preference
}

func serve(t *testing.T, dir, socket string, prefers []string) *devicePlugin {
	t.Helper()
	listener, err := net.Listen("unix", filepath.Join(dir, socket))
	if err != nil {
		t.Fatal(err)
	}
	p := &devicePlugin{server: grpc.NewServer(), messages: make(chan []*pluginapi.Device, 8), prefers: prefers}
	pluginapi.RegisterDevicePluginServer(p.server, p)
	go p.server.Serve(listener)
	t.Cleanup(p.server.Stop)
	return p
}

// send queues a ListAndWatch message; an ID with an exclamation mark is an unhealthy device.
func (p *devicePlugin) send(ids ...string) {
	devices := []*pluginapi.Device{}
	for _, id := range ids {
		health := pluginapi.Healthy
		if strings.HasSuffix(id, "!") {
			health = pluginapi.Unhealthy
		}
		devices = append(devices, &pluginapi.Device{ID: strings.TrimSuffix(id, "!"), Health: health})
	}
	p.messages <- devices
}

func (p *devicePlugin) GetDevicePluginOptions(context.Context, *pluginapi.Empty) (*pluginapi.DevicePluginOptions, error) {
	return &pluginapi.DevicePluginOptions{GetPreferredAllocationAvailable: p.prefers != nil}, nil
}

func (p *devicePlugin) ListAndWatch(_ *pluginapi.Empty, stream grpc.ServerStreamingServer[pluginapi.ListAndWatchResponse]) error {
	for {
		select {
		case devices := <-p.messages:
			if err := stream.Send(&pluginapi.ListAndWatchResponse{Devices: devices}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (p *devicePlugin) GetPreferredAllocation(context.Context, *pluginapi.PreferredAllocationRequest) (*pluginapi.PreferredAllocationResponse, error) {
	return &pluginapi.PreferredAllocationResponse{
		ContainerResponses: []*pluginapi.ContainerPreferredAllocationResponse{{DeviceIDs: p.prefers}}}, nil
}

func (p *devicePlugin) Allocate(_ context.Context, request *pluginapi.AllocateRequest) (*pluginapi.AllocateResponse, error) {
	response := &pluginapi.AllocateResponse{}
	for _, container := range request.ContainerRequests {
		response.ContainerResponses = append(response.ContainerResponses,
			&pluginapi.ContainerAllocateResponse{Envs: map[string]string{"IDS": strings.Join(container.DevicesIds, ",")}})
	}
	return response, nil
}

func request(socket string) *pluginapi.RegisterRequest {
	return &pluginapi.RegisterRequest{Version: pluginapi.Version, Endpoint: socket, ResourceName: hca}
}

func register(t *testing.T, dir string, r *pluginapi.RegisterRequest) error {
	t.Helper()
	connection, err := grpc.NewClient("unix://"+filepath.Join(dir, "kubelet.sock"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_, err = pluginapi.NewRegistrationClient(connection).Register(t.Context(), r)
	return err
}

func await(t *testing.T, k *Kubelet, n int) {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 5*time.Second, fmt.Errorf("waited for 5 s"))
	defer cancel()
	if err := k.Wait(ctx, hca, n); err != nil {
		t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for range 500 {
		if is() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("not within 5 s: %s", what)
}
