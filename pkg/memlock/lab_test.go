package memlock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/api"
	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

// verbsDevice is the lab's first one, as a runtime tells of it.
func verbsDevice(t *testing.T) *api.LinuxDevice {
	t.Helper()
	const path = "/dev/infiniband/uverbs0"
	var stat unix.Stat_t
	if err := unix.Stat(path, &stat); err != nil {
		t.Fatal(err)
	}
	return device(path, int64(unix.Major(stat.Rdev)), int64(unix.Minor(stat.Rdev)))
}

// limitOf is what a container with devices may lock in the end, as prlimit takes it:
// the runtime's own limit, unless the plugin has another answer.
func limitOf(t *testing.T, r *runtime, devices ...*api.LinuxDevice) string {
	t.Helper()
	answer, err := r.CreateContainer(t.Context(), &api.CreateContainerRequest{Pod: &api.PodSandbox{}, Container: container(devices, 0)})
	if err != nil {
		t.Fatal(err)
	}
	const usual = 8 << 20
	limit := fmt.Sprint(usual)
	for _, l := range answer.GetAdjust().GetRlimits() {
		limit = fmt.Sprintf("%d:%d", l.Soft, l.Hard)
	}
	return strings.ReplaceAll(limit, fmt.Sprint(uint64(infinity)), "unlimited")
}

// write has ib_write_bw send 64 MiB from the lab's first device to itself, as user
// 1000 without any capability and with a limit.
func write(t *testing.T, limit string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	// Random data would take an emulated processor minutes.
	payload, err := os.CreateTemp("", "payload")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.Remove(payload.Name()) }()
	_, err = payload.WriteString("0xdeadbeef,\n")
	if err := errors.Join(err, payload.Chmod(0o644), payload.Close()); err != nil {
		t.Fatal(err)
	}
	command := func(more ...string) *exec.Cmd {
		// Soft-RoCE has the first IPv4 address behind the link-local GID. An emulated
		// processor that others share acknowledges 64 MiB late: -u 20 waits 4 s for it.
		const line = "setpriv --reuid 1000 --regid 1000 --clear-groups --bounding-set -all --inh-caps -all ib_write_bw -d rxe0 -x 1 -u 20 -n 5 -s 67108864 --payload_file_path"
		more = append([]string{payload.Name()}, more...)
		return exec.CommandContext(ctx, "prlimit", append(append([]string{"--memlock=" + limit}, strings.Fields(line)...), more...)...)
	}
	server := command()
	var served bytes.Buffer
	server.Stdout, server.Stderr = &served, &served
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- server.Wait() }()
	for ctx.Err() == nil {
		select {
		case err := <-gone:
			return served.String(), err
		case <-time.After(time.Second): // it says nothing when it listens
		}
		b, err := command("10.0.0.1").CombinedOutput()
		if err == nil || !strings.Contains(string(b), "Couldn't connect") {
			cancel()
			<-gone
			return string(b) + served.String(), err
		}
	}
	return served.String(), ctx.Err()
}

// The runtime is NRI's half of one, and the container a process with the limit that
// came out: the lab has no container runtime.
func TestInTheLabTheLimitThatAFakedContainerGetsIsEnoughToPin64MiBWithoutAnyCapability(t *testing.T) {
	if os.Getenv("ROCE_LAB_MODE") == "" {
		t.Skip("needs the lab VM's RDMA devices: run it with `make test-lab`")
	}
	for _, line := range []string{"ip addr add 10.0.0.1/24 dev ens12np0", "ip link set lo up"} {
		words := strings.Fields(line)
		if out, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	defer func() { _ = exec.Command("ip", "addr", "del", "10.0.0.1/24", "dev", "ens12np0").Run() }()
	verbs := verbsDevice(t)
	socket := filepath.Join(sockets.Folder(t), "nri.sock")
	r := startRuntime(t, socket)

	usual := limitOf(t, r, verbs)
	if out, err := write(t, usual); err == nil || !strings.Contains(out, "Couldn't allocate MR") {
		t.Errorf("with the usual limit, %s: %v\n%s", usual, err, out)
	}
	p, _ := start(t, socket)
	until(t, "the plugin", func() bool { return p.now().Connected && limitOf(t, r, verbs) != usual })
	raised := limitOf(t, r, verbs)
	if out, err := write(t, raised); err != nil || !strings.Contains(out, "67108864") {
		t.Errorf("with the limit of the plugin, %s: %v\n%s", raised, err, out)
	}
	if other := limitOf(t, r, device("/dev/null", 1, 3)); raised != "unlimited:unlimited" || other != usual {
		t.Errorf("limits %s, and without RDMA %s", raised, other)
	}
}
