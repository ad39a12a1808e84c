package offer

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestDevicesOfNoResourceAreLeftAlone(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	devices := n.look(n.inventory(nil))
	chosen, clashes := Assign([]config.Resource{{Name: "a", Selectors: config.Selectors{RDMADevices: []string{"mlx5_[67]"}}}}, devices)
	if names(chosen["a"]) != "mlx5_6 mlx5_7" || len(chosen) != 1 || len(clashes) != 0 {
		t.Errorf("got %v %v", chosen, clashes)
	}
}
