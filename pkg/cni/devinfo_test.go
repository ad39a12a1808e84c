package cni

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// The expected texts are those of the Device Information Specification 1.1.0.
func TestTheFileAboutADeviceNamesItAsThePodSeesIt(t *testing.T) {
	pci := attachment.NIC{Bus: rdma.BusPCI, Address: "0000:08:00.0"}
	withRDMA := pci
	withRDMA.RDMA = &rdma.Device{Name: "mlx5_0"}
	for name, tt := range map[string]struct {
		nic    attachment.NIC
		rename string
		want   string // "" for no file
	}{
		"with an RDMA device":      {withRDMA, "", `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:08:00.0","rdma-device":"mlx5_0"}}`},
		"that the pod has renamed": {withRDMA, "roce0", `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:08:00.0","rdma-device":"roce0"}}`},
		"without an RDMA device":   {pci, "roce0", `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:08:00.0"}}`},
		"on another bus":           {attachment.NIC{Bus: rdma.BusAuxiliary, Address: "mlx5_core.sf.2"}, "", ""},
		"on none":                  {attachment.NIC{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			journal, err := attachment.Open(filepath.Join(dir, "state"), "/proc")
			if err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "default-net1-device.json")
			config := &netConf{RDMADeviceName: tt.rename}
			config.RuntimeConfig.DeviceInfoFile = path
			o := &operation{config: config, policy: &policy.Policy{DeviceInfoDir: dir}, journal: journal}
			tt.nic.Netdev.Index = 7
			r := &attachment.Record{ContainerID: "c1", IfName: "net1", Step: attachment.Prepared, NIC: tt.nic, Host: netdev.State{Name: "ens12np0"}}
			if err := journal.Write(r); err != nil {
				t.Fatal(err)
			}
			if err := o.writeDeviceInfo(r); err != nil {
				t.Fatal(err)
			}
			if have, _ := os.ReadFile(path); string(have) != tt.want {
				t.Errorf("%s\nwant %s", have, tt.want)
			}
			recorded, _, err := journal.Read(r.ID())
			if err != nil || (recorded.DeviceInfoFile == path) != (tt.want != "") {
				t.Errorf("the journal has %+v, %v", recorded, err)
			}
			if err := o.removeDeviceInfo(r); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Error("the file is still there")
			}
		})
	}
}

func TestAPodThatGoesWithoutItsRDMADeviceIsToldOfNone(t *testing.T) {
	dir := t.TempDir()
	journal, err := attachment.Open(filepath.Join(dir, "state"), "/proc")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "default-net1-device.json")
	config := &netConf{}
	config.RuntimeConfig.DeviceInfoFile = path
	o := &operation{Plugin: &Plugin{Log: slog.New(slog.DiscardHandler)}, config: config, policy: &policy.Policy{DeviceInfoDir: dir}, journal: journal}
	for written, want := range map[bool]string{false: "", true: `{"type":"pci","version":"1.1.0","pci":{"pci-address":"0000:08:00.0"}}`} {
		device := &rdma.Device{Name: "rxe0", Soft: true}
		r := &attachment.Record{
			ContainerID: "c1", IfName: "net1", Step: attachment.Prepared, Host: netdev.State{Name: "ens12np0"},
			NIC: attachment.NIC{Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdev: netdev.Identity{Index: 7}, RDMA: device, RDMAMoved: true},
		}
		if written {
			if err := o.writeDeviceInfo(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := o.goWithout(r); err != nil || r.NIC.RDMA != nil || r.NIC.RDMAMoved || r.NIC.Soft != device {
			t.Errorf("%+v, %v", r.NIC, err)
		}
		if have, _ := os.ReadFile(path); string(have) != want {
			t.Errorf("%s\nwant %s", have, want)
		}
		_ = os.Remove(path)
	}
}

func TestOnlyAFileOfMultusIsWritten(t *testing.T) {
	const dir = "/var/run/k8s.cni.cncf.io/devinfo/cni"
	for path, want := range map[string]bool{
		"":                      true,
		dir + "/device.json":    true,
		dir + "/a/device.json":  true,
		dir:                     false,
		dir + "x/device.json":   false,
		dir + "/../device.json": false,
		dir + "/./device.json":  false,
		"device.json":           false,
		"/etc/passwd":           false,
	} {
		c := &netConf{}
		c.RuntimeConfig.DeviceInfoFile = path
		for _, configured := range []string{dir, dir + "/"} {
			o := &operation{config: c, policy: &policy.Policy{DeviceInfoDir: configured}}
			if err := o.checkDeviceInfo(); (err == nil) != want {
				t.Errorf("%q: %v", path, err)
			}
		}
	}
}
