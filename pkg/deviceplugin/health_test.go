package deviceplugin

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestADegradedPoolStaysHealthyAndSaysSo(t *testing.T) {
	hcas := node.Eight()
	n := newTestNode(t, hcas...)
	n.Write("config.json", strings.Replace(guide(1), `"rdmaHcaMax": 8,`, `"rdmaHcaMax": 8, "healthPolicy": "link",`, 1))
	k := n.kubelet()
	n.start()
	n.wait(k, hcaGPU, 8)
	for _, h := range hcas[:7] {
		n.Must(n.SetPort(h, "DOWN", "Disabled"))
	}
	n.Until("it is logged", func() bool { return strings.Count(n.Logs.String(), `msg="device degraded"`) == 7 })
	if !strings.Contains(n.Logs.String(), `device="ens11np0/mlx5_0 (0000:08:00.0)" place=host because="its port is DOWN, Disabled"`) {
		t.Errorf("logged:\n%s", n.Logs)
	}
	if _, allocatable := k.Allocatable(hcaGPU); allocatable != 8 || k.Messages(hcaGPU) != 1 {
		t.Errorf("%d allocatable, %d messages", allocatable, k.Messages(hcaGPU))
	}
	n.Must(n.SetPort(hcas[7], "DOWN", "Disabled"))
	n.wait(k, hcaGPU, 0)
	for _, h := range hcas {
		n.Must(n.SetPort(h, "ACTIVE", "LinkUp"))
	}
	n.wait(k, hcaGPU, 8)
	if !strings.Contains(n.Logs.String(), `msg="device recovered"`) {
		t.Errorf("logged:\n%s", n.Logs)
	}
}
