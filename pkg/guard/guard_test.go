package guard

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestAnRDMADeviceOfSeveralNetdevsIsNotOneNICs(t *testing.T) {
	link := node.AddNIC(t, node.NewHost(t), "ens12np0")
	for _, tt := range []struct {
		netdevs []string
		want    string
	}{
		{nil, ""},
		{[]string{"ens12np0"}, ""},
		{[]string{"ens12np0", "ens12np1"}, "its RDMA device mlx5_0 serves ens12np1 as well"},
		{[]string{"ens12np1", "ens12np0"}, "its RDMA device mlx5_0 serves ens12np1 as well"},
	} {
		if why := servesOthers(link, rdma.Device{Name: "mlx5_0", Netdevs: tt.netdevs}); why != tt.want {
			t.Errorf("%v: %q, want %q", tt.netdevs, why, tt.want)
		}
	}
}

// In shared mode every pod sees the device; only who is on the host needs it there.
func TestWhoUsesAnRDMADeviceInAPodIsNotTheHost(t *testing.T) {
	const process, gone = 77, 78
	proc := t.TempDir()
	for _, dir := range []string{"77/ns", "1/ns"} {
		if err := os.MkdirAll(filepath.Join(proc, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	for file, target := range map[string]string{"77/ns/net": os.DevNull, "1/ns/net": fmt.Sprintf("/proc/self/fd/%d", int(host.NS))} {
		if err := os.Symlink(target, filepath.Join(proc, file)); err != nil {
			t.Fatal(err)
		}
	}
	g := Guard{Host: host, Proc: proc}
	for user, want := range map[rdma.User]bool{
		{PID: process}:                       true,
		{PID: 1}:                             false,
		{PID: gone}:                          false, // nobody knows
		{Service: "nvme_rdma"}:               false,
		{PID: process, Service: "nvme_rdma"}: false,
	} {
		if is := g.isInPod(user); is != want {
			t.Errorf("%+v: %v", user, is)
		}
	}
}
