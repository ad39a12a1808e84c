package counters

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// Each of them may be another netdev's.
func TestThePortsOfADeviceOfSeveralHaveNoNetdev(t *testing.T) {
	h := sysfs.MLX5(0)
	f := newFakeNode(t, h)
	second := filepath.Join(filepath.Dir(f.PortDir(h)), "2")
	f.must(os.MkdirAll(filepath.Join(second, "counters"), 0o755))
	for name, content := range map[string]string{"state": "4: ACTIVE", "link_layer": "Ethernet", "counters/port_xmit_packets": "9"} {
		f.must(os.WriteFile(filepath.Join(second, name), []byte(content+"\n"), 0o644))
	}
	f.nics[0].Ports = append(f.nics[0].Ports, rdma.Port{Number: 2})
	scraped := f.scrape()
	for port, value := range map[string]string{"1": "} 7", "2": "} 9"} {
		if got := scraped.of("rdma_port_xmit_packets_total", `netdev=""`, `port="`+port+`"`, value); len(got) != 1 {
			t.Errorf("port %s: %q", port, scraped.of("rdma_port_xmit_packets_total"))
		}
	}
	// Nor does the netdev or the link to the machine belong to one of them.
	if got := scraped.of("rdma_netdev_rx_bytes_total", `netdev="ens11np0"`, `port=""`); len(got) != 1 {
		t.Errorf("%q", scraped.of("rdma_netdev_rx_bytes_total"))
	}
	if got := scraped.of("rdma_pcie_width_lanes", `netdev=""`, `port=""`); len(got) != 1 {
		t.Errorf("%q", scraped.of("rdma_pcie_width_lanes"))
	}
}
