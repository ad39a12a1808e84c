package discovery

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A pod that asks for more GPUs than a node has never runs there.
func TestNoMoreGPUsAreAskedForThanEachNodeHas(t *testing.T) {
	a := describeFake(t)
	b := again(t, a, func(n *Node) { n.Name, n.GPUs = "node-b", n.GPUs[1:] })
	for _, nodes := range [][]*Node{{a, b}, {b, a}} {
		if _, number := Merge(nodes).gpus(); number != 7 {
			t.Errorf("%s first: %d", nodes[0].Name, number)
		}
	}
}

func TestAGPUIsWhatADevicePluginOffers(t *testing.T) {
	for vendor, want := range map[string]string{"0x10de": "nvidia.com/gpu", "0x1002": "amd.com/gpu", "0x8086": "", "": ""} {
		if got := gpuResource(vendor); got != want {
			t.Errorf("vendor %s: %q", vendor, got)
		}
	}
	for class, want := range map[string]bool{"0x030000": true, "0x030200": true, "0x038000": true, "0x120000": true, "0x128000": false, "0x020000": false, "": false} {
		if got := isGPUClass(class); got != want {
			t.Errorf("class %s: %v", class, got)
		}
	}
}

func TestWhatIsBesideTheGPUsIsNoGPU(t *testing.T) {
	sys := t.TempDir()
	for address, is := range map[string][2]string{
		"0000:01:00.0": {"0x10de", "0x030200"}, "0000:01:00.1": {"0x10de", "0x040300"}, // its sound
		"0000:c1:00.0": {"0x1a03", "0x030000"}, // of the board
	} {
		dir := filepath.Join(sys, "bus/pci/devices", address)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "vendor"), []byte(is[0]+"\n"), 0o600),
			os.WriteFile(filepath.Join(dir, "class"), []byte(is[1]+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	found, err := gpus(rdma.Node{Sys: sys})
	if err != nil || !slices.Equal(found, []GPU{{Address: "0000:01:00.0", Resource: "nvidia.com/gpu"}}) {
		t.Errorf("%+v, %v", found, err)
	}
}

func TestARailHasTheGPUsOfItsRootPortAndNoneWithoutOne(t *testing.T) {
	rails := []Rail{{PCIeRoot: "pci0000:00"}, {PCIeRoot: "pci0000:20"}, {}}
	pair(rails, []GPU{{Address: "a", root: "pci0000:20"}, {Address: "b"}, {Address: "c", root: "pci0000:20"}, {Address: "d", root: "pci0000:40"}})
	if len(rails[0].GPUs) > 0 || !slices.Equal(rails[1].GPUs, []string{"a", "c"}) || len(rails[2].GPUs) > 0 {
		t.Errorf("%+v", rails)
	}
}
