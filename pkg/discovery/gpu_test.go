package discovery

import (
	"slices"
	"testing"
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

func TestARailHasTheGPUsOfItsRootPortAndNoneWithoutOne(t *testing.T) {
	rails := []Rail{{PCIeRoot: "pci0000:00"}, {PCIeRoot: "pci0000:20"}, {}}
	pair(rails, []GPU{{Address: "a", root: "pci0000:20"}, {Address: "b"}, {Address: "c", root: "pci0000:20"}, {Address: "d", root: "pci0000:40"}})
	if len(rails[0].GPUs) > 0 || !slices.Equal(rails[1].GPUs, []string{"a", "c"}) || len(rails[2].GPUs) > 0 {
		t.Errorf("%+v", rails)
	}
}
