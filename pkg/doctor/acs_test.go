package doctor

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestEachBridgeAboveAFunctionMayRedirect(t *testing.T) {
	sys := t.TempDir()
	const path = "devices/pci0000:00/0000:00:01.0/0000:05:00.0/0000:06:04.0/0000:08:00.0"
	if err := errors.Join(os.MkdirAll(filepath.Join(sys, path), 0o755), os.MkdirAll(filepath.Join(sys, "bus/pci/devices"), 0o755),
		os.Symlink("../../../"+path, filepath.Join(sys, "bus/pci/devices/0000:08:00.0"))); err != nil {
		t.Fatal(err)
	}
	p := &patient{Options: Options{Roots: Roots{Sys: sys}}}
	if got := p.bridgesAbove("0000:08:00.0"); !slices.Equal(got, []string{"0000:06:04.0", "0000:05:00.0", "0000:00:01.0"}) {
		t.Errorf("%q", got)
	}
	if got := p.bridgesAbove("0000:09:00.0"); got != nil {
		t.Errorf("above nothing: %q", got)
	}
}

func TestTheACSControlIsFoundBehindOtherCapabilities(t *testing.T) {
	const other, acs = 0x0001, 0x000d
	// capability is a header: ID, version 1, the next one's place.
	type capability struct {
		at, id, next int
	}
	for name, tt := range map[string]struct {
		size    int
		all     []capability
		control uint16 // in all of them
		want    bool
		blind   bool
	}{
		"the first":                  {4096, []capability{{0x100, acs, 0}}, 0x1d, true, false},
		"behind another":             {4096, []capability{{0x100, other, 0x148}, {0x148, acs, 0}}, 0x5d, true, false},
		"with nothing set":           {4096, []capability{{0x100, acs, 0}}, 0, true, false},
		"none of them":               {4096, []capability{{0x100, other, 0x148}, {0x148, other, 0}}, 0x1d, false, false},
		"none that the kernel shows": {256, nil, 0, false, false},
		"not even 64 bytes more":     {64, nil, 0, false, true},
		"in a circle":                {4096, []capability{{0x100, other, 0x148}, {0x148, other, 0x100}}, 0x1d, false, false},
		"back in the old space":      {4096, []capability{{0x100, other, 0x40}, {0x40, acs, 0}}, 0x1d, false, false},
		"at the very end":            {0x150, []capability{{0x100, other, 0x148}, {0x148, acs, 0}}, 0x1d, true, false},
		"cut off before its control": {0x14f, []capability{{0x100, other, 0x148}, {0x148, acs, 0}}, 0x1d, false, false},
	} {
		sys := t.TempDir()
		b := make([]byte, 4096)
		for _, c := range tt.all {
			binary.LittleEndian.PutUint32(b[c.at:], uint32(c.id|1<<16|c.next<<20))
			binary.LittleEndian.PutUint16(b[c.at+6:], tt.control)
		}
		file := filepath.Join(sys, "bus/pci/devices/0000:00:01.0/config")
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, b[:tt.size], 0o600); err != nil {
			t.Fatal(err)
		}
		p := &patient{Options: Options{Roots: Roots{Sys: sys}}}
		control, has, err := p.acsControl("0000:00:01.0")
		if (err != nil) != tt.blind || has != tt.want || has && control != tt.control {
			t.Errorf("%s: %#x, %v, %v", name, control, has, err)
		}
	}
}
