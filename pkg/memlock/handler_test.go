package memlock

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"

	"github.com/containerd/nri/pkg/api"
)

// A node of device files, as the runtime tells of it.
func device(path string, major, minor int64) *api.LinuxDevice {
	return &api.LinuxDevice{Path: path, Type: "c", Major: major, Minor: minor}
}

func container(devices []*api.LinuxDevice, memory int64, limits ...*api.POSIXRlimit) *api.Container {
	c := &api.Container{Name: "main", Rlimits: limits, Linux: &api.LinuxContainer{Devices: devices}}
	if memory != 0 {
		c.Linux.Resources = &api.LinuxResources{Memory: &api.LinuxMemory{Limit: api.Int64(memory)}}
	}
	return c
}

func memlock(hard, soft uint64) *api.POSIXRlimit {
	return &api.POSIXRlimit{Type: rlimit, Hard: hard, Soft: soft}
}

func TestContainersWithRDMADevicesGetTheLimitAndNoOthers(t *testing.T) {
	const gi = 1 << 30
	verbs := []*api.LinuxDevice{device("/dev/null", 1, 3), device("/dev/infiniband/uverbs3", 231, 195)}
	files := &api.POSIXRlimit{Type: "RLIMIT_NOFILE", Hard: 1024, Soft: 1024}
	cdi := func(names ...string) *api.Container {
		c := container(nil, 0)
		for _, name := range names {
			c.CDIDevices = append(c.CDIDevices, &api.CDIDevice{Name: name})
		}
		return c
	}
	for name, test := range map[string]struct {
		container *api.Container
		limit     Limit
		want      uint64 // 0: no change
		report    Report
	}{
		"a verbs device":                              {container(verbs, gi), Unlimited, infinity, Report{Raised: 1}},
		"one whose number is dynamic":                 {container([]*api.LinuxDevice{device("/dev/infiniband/uverbs40", 511, 8)}, 0), Unlimited, infinity, Report{Raised: 1}},
		"the last fixed number, under another name":   {container([]*api.LinuxDevice{device("/dev/hca", 231, 223)}, 0), Unlimited, infinity, Report{Raised: 1}},
		"the number behind it":                        {container([]*api.LinuxDevice{device("/dev/hca", 231, 224)}, 0), Unlimited, 0, Report{}},
		"umad and rdma_cm pin nothing":                {container([]*api.LinuxDevice{device("/dev/infiniband/umad0", 231, 0), device("/dev/infiniband/rdma_cm", 10, 120)}, 0), Unlimited, 0, Report{}},
		"another driver's of that number":             {container([]*api.LinuxDevice{device("/dev/other", 511, 195)}, 0), Unlimited, 0, Report{}},
		"a block device of that number":               {container([]*api.LinuxDevice{{Path: "/dev/sdx", Type: "b", Major: 231, Minor: 192}}, 0), Unlimited, 0, Report{}},
		"a CDI device of ours":                        {cdi("nvidia.com/gpu=0", "roce-k8s.io/hca=0000:08:00.0"), Unlimited, infinity, Report{Raised: 1}},
		"CDI devices of others":                       {cdi("nvidia.com/gpu=0", "example.com/roce-k8s.io/hca=0"), Unlimited, 0, Report{}},
		"no device":                                   {container(nil, gi), Unlimited, 0, Report{}},
		"nothing at all":                              {&api.Container{}, Unlimited, 0, Report{}},
		"as much as its memory":                       {container(verbs, gi), ContainerMemory, gi, Report{Raised: 1}},
		"without a limit of its memory":               {container(verbs, 0), ContainerMemory, infinity, Report{Raised: 1}},
		"with a memory that is unlimited":             {container(verbs, -1), ContainerMemory, infinity, Report{Raised: 1}},
		"other limits are its own":                    {container(verbs, 0, files), Unlimited, infinity, Report{Raised: 1}},
		"a limit that is lower, which NRI cannot set": {container(verbs, 0, files, memlock(infinity, 8<<20)), Unlimited, 0, Report{Kept: 1}},
		"a limit that is the same":                    {container(verbs, 0, memlock(infinity, infinity)), Unlimited, 0, Report{}},
		"a limit that is higher":                      {container(verbs, gi, memlock(2*gi, 2*gi)), ContainerMemory, 0, Report{}},
	} {
		t.Run(name, func(t *testing.T) {
			var log bytes.Buffer
			p := New(Options{Limit: test.limit, Log: slog.New(slog.NewTextHandler(&log, nil))})
			p.report = Report{}
			a, updates, err := (&handler{p}).CreateContainer(t.Context(), &api.PodSandbox{Namespace: "default", Name: "pod"}, test.container)
			if err != nil || updates != nil {
				t.Fatalf("%v, %v", updates, err)
			}
			if test.want == 0 && a != nil || test.want != 0 && (len(a.GetRlimits()) != 1 || a.Rlimits[0].Type != "RLIMIT_MEMLOCK" || a.Rlimits[0].Soft != test.want || a.Rlimits[0].Hard != test.want) {
				t.Errorf("%+v, want %d", a, test.want)
			}
			if p.report != test.report {
				t.Errorf("%+v, want %+v", p.report, test.report)
			}
			if said := strings.Contains(log.String(), "pod=default/pod container=main"); said != (test.report != Report{}) && test.container.Name != "" {
				t.Errorf("the log is %q", &log)
			}
		})
	}
}

func TestALimitIsUnlimitedOrTheContainersMemory(t *testing.T) {
	for limit, valid := range map[Limit]bool{Unlimited: true, ContainerMemory: true, "": false, "8Mi": false, "Unlimited": false} {
		if err := limit.Check(); (err == nil) != valid {
			t.Errorf("%q: %v", limit, err)
		}
	}
}
