package specfile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	specs "tags.cncf.io/container-device-interface/specs-go"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// spec is one of a device with some nodes.
func spec(nodes ...string) *specs.Spec {
	d := specs.Device{Name: "a"}
	for _, path := range nodes {
		d.ContainerEdits.DeviceNodes = append(d.ContainerEdits.DeviceNodes, &specs.DeviceNode{Path: path})
	}
	return &specs.Spec{Version: "0.5.0", Kind: "example.com/nic", Devices: []specs.Device{d}}
}

func TestAFileIsCalledAfterWhatItIsFor(t *testing.T) {
	for want, f := range map[string]File{
		"/cdi/example.com-nic.json":    Of("/cdi", "example.com", "nic"),
		"/cdi/example.com-nic_c1.json": ForOne("/cdi", "example.com", "nic", "c1"),
	} {
		if f.Path() != want {
			t.Errorf("%s, want %s", f.Path(), want)
		}
	}
}

func TestAFileSaysWhatTheSpecSaysAndIsWrittenOnlyForThat(t *testing.T) {
	f := Of(filepath.Join(t.TempDir(), "made", "when", "needed"), "example.com", "nic")
	var before os.FileInfo
	for _, step := range []struct {
		nodes  []string
		writes bool
	}{{[]string{"/dev/a"}, true}, {[]string{"/dev/a"}, false}, {[]string{"/dev/a", "/dev/b"}, true}, {[]string{"/dev/a"}, true}} {
		must(t, f.Write(spec(step.nodes...)))
		b, err := os.ReadFile(f.Path())
		must(t, err)
		var is specs.Spec
		must(t, json.Unmarshal(b, &is))
		if !reflect.DeepEqual(&is, spec(step.nodes...)) {
			t.Errorf("%v: %s", step.nodes, b)
		}
		now, err := os.Stat(f.Path())
		must(t, err)
		if written := !os.SameFile(now, before); written != step.writes {
			t.Errorf("%v: written: %v", step.nodes, written)
		}
		before = now
	}
	if files, err := os.ReadDir(f.Dir); len(files) != 1 || err != nil {
		t.Errorf("%v, %v", files, err)
	}
}

func TestWithoutDevicesThereIsNoFile(t *testing.T) {
	f := Of(t.TempDir(), "example.com", "nic")
	must(t, f.Write(spec("/dev/a")))
	for range 2 {
		must(t, f.Write(&specs.Spec{}))
		if _, err := os.Stat(f.Path()); !os.IsNotExist(err) {
			t.Errorf("%v", err)
		}
	}
	must(t, f.Write(spec("/dev/a")))
	for range 2 {
		must(t, f.Remove())
		if _, err := os.Stat(f.Path()); !os.IsNotExist(err) {
			t.Errorf("%v", err)
		}
	}
}

func TestASpecThatCannotBeWrittenOrRemovedIsAnError(t *testing.T) {
	f := Of(t.TempDir(), "example.com", "nic")
	bad := spec("/dev/a")
	bad.Kind = "nic"
	if err := f.Write(bad); err == nil || !strings.HasPrefix(err.Error(), "write the CDI spec: ") {
		t.Errorf("%v", err)
	}
	must(t, os.MkdirAll(filepath.Join(f.Path(), "taken"), 0o755))
	for what, tt := range map[string]struct {
		err  error
		want string
	}{
		"a spec":            {f.Write(spec("/dev/a")), "write the CDI spec: "},
		"one of no devices": {f.Write(&specs.Spec{}), "remove the CDI spec: "},
		"none":              {f.Remove(), "remove the CDI spec: "},
	} {
		if tt.err == nil || !strings.HasPrefix(tt.err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", what, tt.err, tt.want)
		}
	}
}
