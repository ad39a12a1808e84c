package cni_test

import (
	"strings"
	"testing"
)

// The kernel keeps IPv4 addresses of a link that is down, and drops those of IPv6.
func TestIPv6AddressesOutliveALinkThatWasSetDownUnlessTheNetworkSaysOtherwise(t *testing.T) {
	r := newRig(t, 1)
	ipam := map[string]any{"type": "static", "addresses": []any{map[string]any{"address": "172.31.1.2/24"}, map[string]any{"address": "fd00:31::2/64"}}}
	for name, tt := range map[string]struct {
		change map[string]any
		kept   bool
	}{
		"by default":         {nil, true},
		"the network's own":  {map[string]any{"sysctls": map[string]any{"net.ipv6.conf.IFNAME.keep_addr_on_down": "0"}}, false},
		"another sysctl too": {map[string]any{"sysctls": map[string]any{"net.ipv6.conf.IFNAME.accept_ra": "0"}}, true},
	} {
		r.run(name, func(r *rig) {
			p, config := r.pod(), r.config(rails[0], map[string]any{"ipam": ipam}, tt.change)
			p.add("net1", config)
			p.exec("ip", "link", "set", "net1", "down")
			p.exec("ip", "link", "set", "net1", "up")
			addresses := p.exec("ip", "addr", "show", "net1")
			if !strings.Contains(addresses, "172.31.1.2/24") || strings.Contains(addresses, "fd00:31::2/64") != tt.kept {
				t.Errorf("IPv6 kept should be %v:\n%s", tt.kept, addresses)
			}
			p.del("net1", config)
		})
	}
}
