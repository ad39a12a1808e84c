package rdma

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestVirtualFunctionsAreCountedOrCannotBeTold(t *testing.T) {
	sys := t.TempDir()
	for _, c := range []struct {
		name, content string
		number        int
		fails         bool
	}{
		{name: "pf", content: "2\n", number: 2},
		{name: "idle", content: "0\n"},
		{name: "odd", content: "many\n", fails: true},
		{name: "virtual"},
	} {
		dir := filepath.Join(sys, "class/net", c.name, "device")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if c.content != "" {
			if err := os.WriteFile(filepath.Join(dir, "sriov_numvfs"), []byte(c.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if number, err := (Node{Sys: sys}).VirtualFunctions(c.name); number != c.number || (err != nil) != c.fails {
			t.Errorf("%s: %d, %v", c.name, number, err)
		}
	}
}

func TestScalableFunctionsAreThoseBelowTheFunction(t *testing.T) {
	sys := t.TempDir()
	for _, folder := range []string{"pf/device/mlx5_core.eth.0", "pf/device/mlx5_core.sf.2", "pf/device/mlx5_core.sf.3", "sf/device/mlx5_core.eth.2", "sf/device/sfnum", "virtual"} {
		if err := os.MkdirAll(filepath.Join(sys, "class/net", folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"pf": 2, "sf": 0, "virtual": 0} {
		if number, err := (Node{Sys: sys}).ScalableFunctions(name); number != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", name, number, err, want)
		}
	}
}

// Root can open everything, but not what leads to itself.
func TestAFileThatCannotBeOpenedIsNotAFileThatIsNotThere(t *testing.T) {
	sys := t.TempDir()
	for _, file := range []string{"phys_port_name", "device/sriov_numvfs", "device/net"} {
		path := filepath.Join(sys, "class/net/eth0", file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Base(path), path); err != nil {
			t.Fatal(err)
		}
	}
	node := Node{Sys: sys}
	if port, err := node.Representor("eth0"); err == nil {
		t.Errorf("the port is %q", port)
	}
	if number, err := node.VirtualFunctions("eth0"); err == nil {
		t.Errorf("%d virtual functions", number)
	}
	if has, err := node.HasSiblings("eth0"); err == nil {
		t.Errorf("siblings: %v", has)
	}
	node.Sys = filepath.Join(sys, "class/net/eth0/phys_port_name")
	if !node.HasFunction(BusPCI, "0000:08:00.0") {
		t.Error("a function that cannot be looked for is not there")
	}
	if number, err := node.ScalableFunctions("eth0"); err == nil {
		t.Errorf("%d scalable functions", number)
	}
}

// A representor may be removed while an ADD looks at the NICs beside it.
func TestANetdevThatIsGoneSaysNothingAndAProcessWithoutDescriptorsCannotTell(t *testing.T) {
	for _, c := range []struct {
		op   string
		err  error
		says bool
	}{
		{"open", unix.ENOENT, true},
		{"open", unix.ENODEV, true},
		{"read", unix.EOPNOTSUPP, true},
		{"read", unix.ENODEV, true},
		{"open", unix.EMFILE, false},
		{"open", unix.ENFILE, false},
		{"open", unix.EACCES, false},
	} {
		if says := saysNothing(&fs.PathError{Op: c.op, Path: "phys_port_name", Err: c.err}); says != c.says {
			t.Errorf("%s: %v: %v", c.op, c.err, says)
		}
	}
	if saysNothing(nil) {
		t.Error("a file that was read")
	}
}

func TestARepresentorIsNoOtherPortOfItsFunction(t *testing.T) {
	sys := t.TempDir()
	names := []string{"ens12np0", "ens12npf0vf3"}
	write := func(port string) {
		for _, name := range names {
			if err := os.MkdirAll(filepath.Join(sys, "class/net/ens12np0/device/net", name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(filepath.Join(sys, "class/net", name), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(sys, "class/net/ens12npf0vf3/phys_port_name"), []byte(port), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for port, want := range map[string]bool{"pf0vf3\n": false, "p1\n": true} {
		write(port)
		if has, err := (Node{Sys: sys}).HasSiblings("ens12np0"); has != want || err != nil {
			t.Errorf("beside port %q: %v, %v", port, has, err)
		}
	}
}

func TestAFunctionIsPartOfThePhysicalOneThatHasTheLinkToTheMachine(t *testing.T) {
	sys := t.TempDir()
	dir := filepath.Join(sys, "bus/auxiliary/devices")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../../../devices/pci0000:00/0000:00:01.0/0000:08:00.0/mlx5_core.sf.2", filepath.Join(dir, "mlx5_core.sf.2")); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		device Device
		want   string
	}{
		"physical":             {Device{Bus: BusPCI, Address: "0000:08:00.0"}, "0000:08:00.0"},
		"virtual":              {Device{Bus: BusPCI, Address: "0000:08:00.2", PhysicalFunction: "devices/pci0000:00/0000:00:01.0/0000:08:00.0"}, "0000:08:00.0"},
		"scalable":             {Device{Bus: BusAuxiliary, Address: "mlx5_core.sf.2"}, "0000:08:00.0"},
		"a scalable one, gone": {Device{Bus: BusAuxiliary, Address: "mlx5_core.sf.3"}, ""},
		"on no bus":            {Device{Soft: true}, ""},
	} {
		if got := (Node{Sys: sys}).PhysicalFunctionOf(tt.device); got != tt.want {
			t.Errorf("%s: %q, want %q", name, got, tt.want)
		}
	}
}

func TestOfAFunctionItsDriverAndItsPhysicalOneAreSeen(t *testing.T) {
	const root = "devices/pci0000:00/0000:00:01.0/"
	sys := tree(t, map[string]string{root + "0000:08:00.0/vendor": "0x15b3", root + "0000:08:00.2/vendor": "0x15b3", root + "0000:08:00.0/mlx5_core.sf.2/sfnum": "88",
		"bus/pci/drivers/mlx5_core/new_id": ""})
	for at, to := range map[string]string{
		"bus/pci/devices/0000:08:00.0": "../../../" + root + "0000:08:00.0", root + "0000:08:00.0/driver": "../../../../bus/pci/drivers/mlx5_core",
		root + "0000:08:00.2/physfn": "../0000:08:00.0",
	} {
		for _, err := range []error{os.MkdirAll(filepath.Join(sys, filepath.Dir(at)), 0o755), os.Symlink(to, filepath.Join(sys, at))} {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	n := Node{Sys: sys}
	for address, want := range map[string]string{"0000:08:00.0": "mlx5_core", "0000:09:00.0": ""} {
		if got := n.DriverOf(BusPCI, address); got != want {
			t.Errorf("driver of %s: %q", address, got)
		}
	}
	for function, want := range map[string]string{"0000:08:00.2": root + "0000:08:00.0", "0000:08:00.0": ""} {
		if got := n.physicalFunction(filepath.Join(sys, root, function)); got != want {
			t.Errorf("physical function of %s: %q, want %q", function, got, want)
		}
	}
	for below, want := range map[string]bool{root + "0000:08:00.0": true, root + "0000:08:00.0/vendor": false, root + "0000:09:00.0": false} {
		if n.HasFolder(below) != want {
			t.Errorf("folder %s: %v", below, !want)
		}
	}
}

func TestADomainOfMoreDigitsComesLast(t *testing.T) {
	addresses := []string{"10000:e1:00.0", "fffe:01:00.0", "0000:f0:00.0", "0000:08:00.1", "", "0000:08:00.0"}
	slices.SortFunc(addresses, ComparePCI)
	if want := []string{"", "0000:08:00.0", "0000:08:00.1", "0000:f0:00.0", "fffe:01:00.0", "10000:e1:00.0"}; !slices.Equal(addresses, want) {
		t.Errorf("%q", addresses)
	}
}
