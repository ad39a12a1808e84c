package selftest

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// `rping` is told the server's address by both sides.
func TestBothSidesOfTheTrafficAreToldOfTheServer(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	server, client := &pod{address: netip.MustParseAddr("198.18.0.1")}, &pod{address: netip.MustParseAddr("198.18.0.2")}
	_, _, err := commands("/dev", server, client)
	if skipped := skip(""); !errors.As(err, &skipped) || !strings.Contains(err.Error(), "neither ibv_rc_pingpong") {
		t.Errorf("without a program: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rping"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	from, to, err := commands("/dev", server, client)
	if err != nil {
		t.Fatal(err)
	}
	common := "rping -p 18515 -C 10 -a 198.18.0.1 "
	if have := strings.Join(from, " "); have != common+"-s" {
		t.Errorf("the server: %s", have)
	}
	if have := strings.Join(to, " "); have != common+"-c" {
		t.Errorf("the client: %s", have)
	}
}

// A report is read by people who have never seen the node.
func TestAReportSaysWhatTheNICIs(t *testing.T) {
	sys := t.TempDir()
	for file, content := range map[string]string{"mlx5_0/fw_ver": "28.39.1002\n", "mlx5_0/board_id": "MT_0000000838\n"} {
		file = filepath.Join(sys, "class/infiniband", file)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mlx5 := &rdma.Device{Name: "mlx5_0", Vendor: "15b3", DeviceID: "1021"}
	if d := driverOf("none12np0"); d != (driver{}) {
		t.Errorf("of no netdev: %+v", d)
	}
	for _, tt := range []struct {
		device *rdma.Device
		driver driver
		want   string
	}{
		{nil, driver{}, "driver unknown, no RDMA device"},
		{mlx5, driver{}, "driver unknown, RDMA mlx5_0, PCI ID 15b3:1021, RDMA firmware 28.39.1002, board MT_0000000838"},
		{&rdma.Device{Name: "rxe0"}, driver{}, "driver unknown, RDMA rxe0"},
		{nil, driver{"mlx5_core", "24.10", "28.39.1002"}, "driver mlx5_core 24.10, firmware 28.39.1002, no RDMA device"},
		{mlx5, driver{"mlx5_core", "24.10", "28.39.1002"}, "driver mlx5_core 24.10, firmware 28.39.1002, RDMA mlx5_0, PCI ID 15b3:1021, board MT_0000000838"},
		{mlx5, driver{"mlx5_core", "", "28.38.1000"}, "driver mlx5_core, firmware 28.38.1000, RDMA mlx5_0, PCI ID 15b3:1021, RDMA firmware 28.39.1002, board MT_0000000838"},
	} {
		if have := (nic{"none12np0", tt.device}).about(rdma.Node{Sys: sys}, tt.driver); have != tt.want {
			t.Errorf("%s\nwant %s", have, tt.want)
		}
	}
}

func TestOnlyWhatPassesIsNoPartOfANICsState(t *testing.T) {
	dir := t.TempDir()
	passing := []string{"carrier", "carrier_changes", "operstate", "dormant", "testing", "speed", "duplex", "link_mode", "ifindex", "iflink", "uevent", "phys_switch_id", "proto_down"}
	lasting := []string{"mtu", "address", "flags", "tx_queue_len", "gro_flush_timeout", "ifalias", "group", "threaded"}
	for i, name := range slices.Concat(passing, lasting) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(fmt.Sprintln(i)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "queues"), 0o755); err != nil {
		t.Fatal(err)
	}
	v := view{}
	v.addFiles(dir, isPassing)
	if len(v) != len(lasting) {
		t.Errorf("%v", v)
	}
	for i, name := range lasting {
		if have := v[filepath.Join(dir, name)]; have != fmt.Sprint(len(passing)+i) {
			t.Errorf("%s: %q", name, have)
		}
	}
}
