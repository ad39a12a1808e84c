package netdev_test

import (
	"net"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestATunnelSendsFromAnAddressOfEitherFamily(t *testing.T) {
	for _, from := range []string{"192.0.2.1", "2001:db8::1", ""} {
		t.Run("from "+from, func(t *testing.T) {
			host := node.NewHost(t)
			vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx0"}, VxlanId: 7, Port: 4789}
			if from != "" {
				vxlan.SrcAddr = net.ParseIP(from)
			}
			must(t, netlink.LinkAdd(vxlan))
			tunnels, err := host.Tunnels(t.Context())
			must(t, err)
			switch {
			case from == "" && len(tunnels) > 0:
				t.Errorf("%+v", tunnels)
			case from != "" && (len(tunnels) != 1 || tunnels[0].From != netip.MustParseAddr(from)):
				t.Errorf("%+v, want one from %s", tunnels, from)
			}
		})
	}
}
