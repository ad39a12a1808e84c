package cni

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestThePolicyIsAskedAboutAllThatANetworkCanAskFor(t *testing.T) {
	h := sysfs.MLX5(0)
	n := node.New(t, h)
	mac, err := net.ParseMAC(h.MAC)
	n.Must(err)
	hardware := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: h.Netdev, AltNames: []string{"rail0"}, ParentDevBus: "pci", ParentDev: h.PCI, PermHWAddr: mac, HardwareAddr: mac}}
	virtual := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "veth0"}}
	for _, tt := range []struct {
		policy, config string
		link           netlink.Link
		denied         string // the rule, "" for none
	}{
		{`{"nics": [{"names": ["` + h.Netdev + `"]}]}`, ``, hardware, ""},
		{`{"nics": [{"names": ["rail0"]}]}`, ``, hardware, ""},
		{`{"nics": [{"names": ["ens99np0"]}]}`, ``, hardware, "nics"},
		{`{"nics": [{"pciAddresses": ["` + h.PCI + `"]}]}`, ``, hardware, ""},
		{`{"nics": [{"pciAddresses": ["0000:99:00.0"]}]}`, ``, hardware, "nics"},
		{`{"nics": [{"drivers": ["` + h.Driver + `"]}]}`, ``, hardware, ""},
		{`{"nics": [{"drivers": ["bnxt_en"]}]}`, ``, hardware, "nics"},
		{`{"virtual": false}`, ``, hardware, ""},
		{`{"virtual": false}`, ``, virtual, "virtual"},
		{`{"force": false}`, ``, hardware, ""},
		{`{"force": false}`, `"force": true`, hardware, "force"},
		{`{"ipam": ["static"]}`, `"ipam": {"type": "static"}`, hardware, ""},
		{`{"ipam": ["static"]}`, `"ipam": {"type": "host-local"}`, hardware, "ipam"},
		{`{"ipam": ["static"]}`, ``, hardware, "ipam"},
		{`{"sysctls": ["net.ipv4.conf.IFNAME.arp_*"]}`, `"sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1"}`, hardware, ""},
		{`{"sysctls": ["net.ipv4.conf.IFNAME.arp_*"]}`, `"sysctls": {"net.ipv4.conf.IFNAME.arp_notify": "1", "net.ipv4.conf.IFNAME.rp_filter": "2"}`, hardware, "sysctls"},
		{`{"tables": {"max": 100}}`, `"sourceRouting": {"table": 100}`, hardware, ""},
		{`{"tables": {"max": 100}}`, `"sourceRouting": {"table": 101}`, hardware, "tables"},
		{`{"priorities": {"max": 100}}`, `"sourceRouting": {"priority": 100}`, hardware, ""},
		{`{"priorities": {"max": 100}}`, `"sourceRouting": {"priority": 101}`, hardware, "priorities"},
		{`{"mtu": {"max": 1500}}`, `"mtu": 1500`, hardware, ""},
		{`{"mtu": {"max": 1500}}`, `"mtu": 1501`, hardware, "mtu"},
		{`{"namespaces": {"default": {"nics": []}}}`, ``, hardware, "nics"},
		{`{"namespaces": {"another": {"nics": []}}}`, ``, hardware, ""},
	} {
		rules, err := policy.Parse("policy.json", []byte(tt.policy))
		n.Must(err)
		text := `{"cniVersion": "1.1.0", "name": "n", "device": "x"`
		if tt.config != "" {
			text += ", " + tt.config
		}
		c, err := parseConfig([]byte(text + "}"))
		n.Must(err)
		o := &operation{Plugin: &Plugin{Node: n.RDMA()}, config: c, policy: rules, pod: attachment.Pod{Namespace: "default", Name: "pod-1"}}
		err = o.checkPolicy(tt.link)
		if tt.denied == "" && err != nil || tt.denied != "" && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("%q", tt.denied))) {
			t.Errorf("%s, %s, %s: %v, want %q denied", tt.policy, tt.config, tt.link.Attrs().Name, err, tt.denied)
		}
	}
}
