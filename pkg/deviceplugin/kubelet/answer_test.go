package kubelet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pluginapi "k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1"
)

// two has the devices a and b, and gives a container what its IDs say.
type two struct{ allocated []string }

func (*two) Name() string { return "rdma/two" }
func (*two) Devices() ([]*pluginapi.Device, <-chan struct{}) {
	return []*pluginapi.Device{{ID: "a"}, {ID: "b"}}, nil
}
func (*two) Allocate(ids []string) (*pluginapi.ContainerAllocateResponse, error) {
	if slices.Contains(ids, "c") {
		return nil, errors.New("no c")
	}
	return &pluginapi.ContainerAllocateResponse{Envs: map[string]string{"ids": strings.Join(ids, ",")}}, nil
}
func (*two) Registered(string)   {}
func (*two) StreamOpened(string) {}
func (*two) StreamEnded(string)  {}
func (t *two) Allocated(resource string, took time.Duration, err error) {
	t.allocated = append(t.allocated, fmt.Sprint(resource, " ", took >= 0 && took < time.Minute, " ", err == nil))
}

func TestEachContainerOfARequestIsAnswered(t *testing.T) {
	r := &two{}
	s := &server{resource: r, observer: r, log: slog.New(slog.DiscardHandler)}
	request := &pluginapi.AllocateRequest{ContainerRequests: []*pluginapi.ContainerAllocateRequest{{DevicesIds: []string{"a"}}, {}, {DevicesIds: []string{"b", "a"}}}}
	response, err := s.Allocate(context.Background(), request)
	if err != nil || len(response.ContainerResponses) != 3 {
		t.Fatal(response, err)
	}
	for i, want := range []string{"a", "", "b,a"} {
		if got := response.ContainerResponses[i].Envs["ids"]; got != want {
			t.Errorf("container %d gets %q, want %q", i, got, want)
		}
	}
	request.ContainerRequests[1].DevicesIds = []string{"c"}
	if response, err := s.Allocate(context.Background(), request); response != nil || status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "rdma/two: no c") {
		t.Errorf("%v, %v", response, err)
	}
	if want := []string{"rdma/two true true", "rdma/two true false"}; !slices.Equal(r.allocated, want) {
		t.Errorf("%q, want %q", r.allocated, want)
	}
}

func TestDevicesAreChosenFromThoseThatThereAre(t *testing.T) {
	s := &server{resource: &two{}}
	for _, tt := range []struct {
		available, must []string
		size            int32
		want            string // "" is an error
	}{
		{[]string{"b", "a"}, nil, 1, "b"}, {[]string{"b", "a"}, nil, 2, "b a"}, {[]string{"b", "a"}, nil, 3, ""},
		{[]string{"b", "a"}, []string{"a"}, 1, "a"}, {[]string{"b", "a"}, []string{"a"}, 2, "a b"}, {[]string{"b", "a"}, []string{"a", "b"}, 1, ""},
		{[]string{"a", "c"}, nil, 1, ""}, {[]string{"a"}, []string{"c"}, 1, ""}, {[]string{"a", "a"}, nil, 2, ""},
	} {
		request := &pluginapi.ContainerPreferredAllocationRequest{AvailableDeviceIDs: tt.available, MustIncludeDeviceIDs: tt.must, AllocationSize: tt.size}
		got, err := s.preferred(request)
		if strings.Join(got, " ") != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v: %q, %v, want %q", request, got, err, tt.want)
		}
	}
}

func TestWhoPrefersIsAskedAndOthersAreNot(t *testing.T) {
	s := &server{resource: preferring{newUnits(name, 4)}}
	request := func(size int32, must ...string) *pluginapi.PreferredAllocationRequest {
		return &pluginapi.PreferredAllocationRequest{ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{
			{AvailableDeviceIDs: []string{"0", "1", "2"}, MustIncludeDeviceIDs: must, AllocationSize: size}, {AvailableDeviceIDs: []string{"3"}, AllocationSize: 1},
		}}
	}
	response, err := s.GetPreferredAllocation(t.Context(), request(2, "1", "1"))
	if err != nil || len(response.ContainerResponses) != 2 || strings.Join(response.ContainerResponses[0].DeviceIDs, " ") != "1 2" || strings.Join(response.ContainerResponses[1].DeviceIDs, " ") != "3" {
		t.Errorf("%v, %v", response, err)
	}
	for what, bad := range map[string]*pluginapi.PreferredAllocationRequest{
		"cannot choose 4 devices from 3, with 0 of them required": request(4), "cannot choose 1 devices from 3, with 2 of them required": request(1, "0", "1"),
		"no device has this ID": {ContainerRequests: []*pluginapi.ContainerPreferredAllocationRequest{{AvailableDeviceIDs: []string{"none such"}, AllocationSize: 1}}},
	} {
		if response, err := s.GetPreferredAllocation(t.Context(), bad); response != nil || status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), name+": "+what) {
			t.Errorf("%s: %v, %v", what, response, err)
		}
	}
}

func TestALogLineHasSixteenIDsAndThreeHundredBytes(t *testing.T) {
	ids := strings.Split("a b c d e f g h i j k l m n o p q r", " ")
	for n, want := range map[int]string{16: "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p", 17: "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p and 1 more", 18: "a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p and 2 more"} {
		if got := list(ids[:n]); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	text := strings.Repeat("x", 299) + "é"
	for given, want := range map[string]string{text[:299]: text[:299], text[:299] + "y": text[:299] + "y", text: text[:299] + "… (301 bytes)"} {
		if got := short(given); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
