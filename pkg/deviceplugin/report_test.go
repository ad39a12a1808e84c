package deviceplugin

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestMoreUnitsThanTheGIDTableHasRoomForAreWarnedOf(t *testing.T) {
	for units, warned := range map[string]bool{"1": false, "2": true} { // the simulated tables have room for one pod
		t.Run(units+" units", func(t *testing.T) {
			n := newTestNode(t, node.Eight()...)
			n.Write("config.json", `{"configList": [{"resourceName": "hca", "rdmaHcaMax": `+units+`, "selectors": {"vendors": ["15b3"]}}]}`)
			k := n.kubelet()
			stop := n.start()
			n.Until("the plugin runs", func() bool { _, allocatable := k.Allocatable("rdma/hca"); return allocatable > 0 })
			stop() // by then it has said what it has to say
			const warning = `resource=rdma/hca rdmaHcaMax=2 device="ens11np0/mlx5_0 (0000:08:00.0)" gidTable=4 roomFor=1`
			if got := strings.Contains(n.Logs.String(), warning); got != warned {
				t.Errorf("warned is %v\n%s", got, n.Logs)
			}
		})
	}
}
