package doctor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestAFileOfTheAdministratorHidesTheVendorsOfItsName(t *testing.T) {
	n := newFakeNode(t)
	n.Write("usr/lib/modprobe.d/fake.conf", "options ib_core netns_mode=1\n") // /etc has one
	if r := n.examine(); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}

// As kernel and modprobe write it (kstrtobool).
func TestTheParameterOfTheModeIsAnyWordForYesOrNo(t *testing.T) {
	for value, want := range map[string]rdma.Mode{
		"Y\n": rdma.Shared, "y": rdma.Shared, "1": rdma.Shared, "yes": rdma.Shared, "true": rdma.Shared, "on": rdma.Shared, "ON": rdma.Shared,
		"N\n": rdma.Exclusive, "n": rdma.Exclusive, "0": rdma.Exclusive, "no": rdma.Exclusive, "false": rdma.Exclusive, "off": rdma.Exclusive,
		"": "", "2": "", "exclusive": "",
	} {
		if mode, ok := modeOf(value); mode != want || ok != (want != "") {
			t.Errorf("%q: %q, %v", value, mode, ok)
		}
	}
}

func TestAKernelWithoutTheParameterIsInSharedMode(t *testing.T) {
	n := newFakeNode(t)
	n.Must(os.RemoveAll(filepath.Join(n.Sys(), "module/ib_core/parameters")))
	if r := n.examine(); r.Mode != string(rdma.Shared) {
		t.Errorf("mode %q", r.Mode)
	}
	n.Must(os.RemoveAll(filepath.Join(n.Sys(), "module/ib_core")))
	if r := n.examine(); r.Mode != "" {
		t.Errorf("mode %q without the module", r.Mode)
	}
}
