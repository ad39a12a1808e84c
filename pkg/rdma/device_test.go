package rdma

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

func TestADeviceIsWholeWhenItsPortsAndItsFunctionAre(t *testing.T) {
	port := Port{Number: 1, LinkLayer: "Ethernet"}
	hard := Device{Bus: BusPCI, Address: "0000:08:00.0", Vendor: "15b3", Driver: "mlx5_core", Ports: []Port{port}}
	without := func(change func(*Device)) Device {
		d := hard
		change(&d)
		return d
	}
	for name, tt := range map[string]struct {
		device Device
		want   bool
	}{
		"all is there":          {hard, true},
		"no ports":              {without(func(d *Device) { d.Ports = nil }), false},
		"a port without a kind": {without(func(d *Device) { d.Ports = []Port{port, {Number: 2}} }), false},
		"no vendor":             {without(func(d *Device) { d.Vendor = "" }), false},
		"no driver":             {without(func(d *Device) { d.Driver = "" }), false},
		"on another bus":        {without(func(d *Device) { d.Bus, d.Vendor, d.Driver = "", "", "" }), true},
		"in software":           {without(func(d *Device) { d.Soft, d.Vendor, d.Driver = true, "", "" }), true},
	} {
		if is := tt.device.complete(); is != tt.want {
			t.Errorf("%s: %v", name, is)
		}
	}
}

func TestADeviceIsOnTheNetdevOfItsFunctionOrItsGUID(t *testing.T) {
	hard := Device{Bus: BusPCI, Address: "0000:08:00.0", NodeGUID: "5054:00ff:fe00:0001"}
	soft := Device{Soft: true, Bus: BusPCI, Address: "0000:08:00.0", NodeGUID: "5054:00ff:fe00:0001"}
	for name, tt := range map[string]struct {
		device            Device
		bus, address, mac string
		want              bool
	}{
		"its function":                   {hard, BusPCI, "0000:08:00.0", "52:54:00:00:00:99", true},
		"another":                        {hard, BusPCI, "0000:09:00.0", "52:54:00:00:00:01", false},
		"another bus":                    {hard, BusAuxiliary, "0000:08:00.0", "52:54:00:00:00:01", false},
		"no function":                    {Device{}, "", "", "52:54:00:00:00:01", false},
		"the netdev of its GUID":         {soft, "", "", "52:54:00:00:00:01", true},
		"another netdev of the function": {soft, BusPCI, "0000:08:00.0", "52:54:00:00:00:99", false},
	} {
		if is := tt.device.IsOn(tt.bus, tt.address, tt.mac); is != tt.want {
			t.Errorf("%s: %v", name, is)
		}
	}
}

func TestSeveralDevicesOfOneFunctionAreToldApart(t *testing.T) {
	at := func(name, address string) Device { return Device{Name: name, Address: address} }
	soft := func(name, guid string) Device {
		return Device{Name: name, Address: "0000:08:00.0", Soft: true, NodeGUID: guid}
	}
	for name, tt := range map[string]struct {
		main    map[string]string
		devices []Device
		beside  []bool
	}{
		"the one with uverbs is the main one":     {map[string]string{"0000:08:00.0": "b"}, []Device{at("a", "0000:08:00.0"), at("b", "0000:08:00.0")}, []bool{true, false}},
		"the first of those without":              {nil, []Device{at("a", "0000:08:00.0"), at("b", "0000:08:00.0"), at("c", "0000:08:00.0")}, []bool{false, true, true}},
		"each has its own":                        {nil, []Device{at("a", "0000:08:00.0"), at("b", "0000:09:00.0")}, []bool{false, false}},
		"none":                                    {nil, []Device{at("a", ""), at("b", "")}, []bool{false, false}},
		"two kinds of software on one netdev":     {nil, []Device{soft("rxe0", "1"), soft("siw0", "1"), soft("rxe1", "2")}, []bool{false, true, false}},
		"software does not sit beside the device": {map[string]string{"0000:08:00.0": "a"}, []Device{at("a", "0000:08:00.0"), soft("rxe0", "1")}, []bool{false, false}},
	} {
		(&charIndex{main: tt.main}).tellApart(tt.devices)
		var beside []bool
		for _, d := range tt.devices {
			beside = append(beside, d.Beside)
		}
		if !slices.Equal(beside, tt.beside) {
			t.Errorf("%s: %v, want %v", name, beside, tt.beside)
		}
	}
	keys := map[string]bool{}
	for _, d := range []Device{
		{Name: "a", Bus: BusPCI, Address: "0000:08:00.0"}, {Name: "b", Bus: BusPCI, Address: "0000:08:00.0", Beside: true}, {Name: "c", Bus: BusAuxiliary, Address: "0000:08:00.0"},
		{Name: "d", Bus: BusPCI, Address: "0000:08:00.0", Soft: true, NodeGUID: "1"}, {Name: "e", Soft: true, NodeGUID: "1", Beside: true}, {Name: "f", Soft: true, NodeGUID: "2"},
	} {
		keys[d.Key()] = true
	}
	if len(keys) != 6 {
		t.Errorf("of six devices some have one key: %v", keys)
	}
}

// A driver's own queue pairs are named after its other half.
func TestOnlyTheDriversOwnHalfIsTheSystem(t *testing.T) {
	entry := func(service string) []byte {
		return nl.NewRtAttr(nldevAttrKernName, nl.ZeroTerminated(service)).Serialize()
	}
	for _, tt := range []struct {
		service, driver string
		system          bool
	}{
		{"mlx5_ib", "mlx5_core", true},
		{"mlx5x_ib", "mlx5_core", false},
		{"nvme_rdma", "", false},
		{"_rdma", "", false},
		{"irdma_x", "irdma", true},
	} {
		if _, ok := queuePairUser(entry(tt.service), tt.driver); ok == tt.system {
			t.Errorf("%s with the driver %q: system %v", tt.service, tt.driver, !ok)
		}
	}
}

func TestASoftwareDriverIsThereWhenItsModuleIs(t *testing.T) {
	for module, want := range map[string]bool{"rdma_rxe": true, "siw": true, "ib_core": false} {
		sys := t.TempDir()
		if err := os.MkdirAll(filepath.Join(sys, "module", module), 0o755); err != nil {
			t.Fatal(err)
		}
		if has := (Node{Sys: sys}).HasSoftDrivers(); has != want {
			t.Errorf("with %s: %v", module, has)
		}
	}
}

func TestANetdevIsAnnouncedAgainByItsUevent(t *testing.T) {
	sys := t.TempDir()
	file := filepath.Join(sys, "class/net/ens12np0/uevent")
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	n := Node{Sys: sys}
	if err := n.Appear("ens12np0"); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(file); string(b) != "add" {
		t.Errorf("%q", b)
	}
	if err := n.Appear("ens13np0"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of none: %v", err)
	}
}

func TestADeviceIsRoCEByAnyOfItsPorts(t *testing.T) {
	ethernet, infiniband := Port{LinkLayer: "Ethernet"}, Port{LinkLayer: "InfiniBand"}
	for _, tt := range []struct {
		ports []Port
		want  bool
	}{{nil, false}, {[]Port{infiniband}, false}, {[]Port{ethernet}, true}, {[]Port{infiniband, ethernet}, true}, {[]Port{ethernet, infiniband}, true}, {[]Port{{}}, false}} {
		if is := (Device{Ports: tt.ports}).IsRoCE(); is != tt.want {
			t.Errorf("%+v: %v", tt.ports, is)
		}
	}
}

func TestADeviceIsCalledByItsNameAndItsAddress(t *testing.T) {
	for want, d := range map[string]Device{"mlx5_0 (0000:08:00.0)": {Name: "mlx5_0", Address: "0000:08:00.0"}, "rxe0": {Name: "rxe0"}} {
		if d.String() != want {
			t.Errorf("%s, want %s", d, want)
		}
	}
}

// As ib_core's parameter has it: whether namespaces share devices.
func TestTheParameterOfAModeIsWhetherDevicesAreShared(t *testing.T) {
	for mode, want := range map[Mode]int{Shared: 1, Exclusive: 0} {
		if mode.Parameter() != want {
			t.Errorf("%s: %d", mode, mode.Parameter())
		}
	}
}
