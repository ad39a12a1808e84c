package selftest

import (
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestNICsThatTheHostHardlyUsesComeFirst(t *testing.T) {
	states := map[string]netdev.State{"ens11np0": {Addresses: make([]netdev.Address, 1)}, "ens12np0": {}, "ens13np0": {Addresses: make([]netdev.Address, 2)}, "ens14np0": {}}
	var names []string
	for _, n := range idleFirst([]nic{{name: "ens11np0"}, {name: "ens12np0"}, {name: "ens13np0"}, {name: "ens14np0"}}, states) {
		names = append(names, n.name)
	}
	if want := []string{"ens12np0", "ens14np0", "ens11np0", "ens13np0"}; !slices.Equal(names, want) {
		t.Errorf("%v, want %v", names, want)
	}
}
