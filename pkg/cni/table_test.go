package cni

import (
	"net/netip"
	"testing"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestEachNICHasATableOfItsOwnAndNoneTheKernels(t *testing.T) {
	address := []*current.IPConfig{{Address: *netdev.IPNet(netip.MustParsePrefix("172.31.1.2/24"))}}
	seen := map[int]int{}
	for _, index := range []int{1, 152, 153, 154, 155, 156, 1<<31 - 1} {
		c := &netConf{SourceRouting: sourceRouting{On: true}}
		link := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Index: index}}
		table := c.plan(nil, link, &current.Result{IPs: address}).rules[0].Table
		if other, taken := seen[table]; taken || reserved(table) || table < 1 || table > 1<<32-1 {
			t.Errorf("interface %d has table %d, interface %d %d", index, table, other, seen[table])
		}
		seen[table] = index
	}
	if seen[101] != 1 || seen[252] != 152 || seen[256] != 156 {
		t.Errorf("interfaces by table: %v", seen)
	}
}
