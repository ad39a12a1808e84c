package offer

import (
	"reflect"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestSelectorsChoose(t *testing.T) {
	pf := sysfs.MLX5(0)
	ib := sysfs.MLX5(3)
	ib.LinkLayer, ib.Netdev = "InfiniBand", "ib0"
	nic := sysfs.NIC(5)
	far := sysfs.MLX5(9)
	n := newTestNode(t, pf, sysfs.SF(pf, 2, 10), sysfs.VF(pf, 1, 11), sysfs.BNXT(1), sysfs.IRDMA(2), ib, nic, sysfs.RXE(20, nic), far)
	devices := n.look(n.inventory(node.Links(
		netlink.LinkAttrs{Index: 2, Name: far.Netdev, AltNames: []string{"enp195s0np0", "rail7"}},
		netlink.LinkAttrs{Index: 3, Name: pf.Netdev, MasterIndex: 5},
		netlink.LinkAttrs{Index: 4, Name: sysfs.BNXT(1).Netdev, MasterIndex: 5},
		netlink.LinkAttrs{Index: 5, Name: "bond0"},
	)))
	yes, no := true, false
	untried := map[string]bool{}
	for f := range reflect.TypeFor[config.Selectors]().Fields() {
		untried[f.Name] = true
	}
	for name, test := range map[string]struct {
		selectors config.Selectors
		exclude   config.Selectors
		want      string
	}{
		"by a pattern":                   {selectors: config.Selectors{IfNames: []string{"ens1[12]np0", "ib?"}}, want: "bnxt_re1 mlx5_0 mlx5_3"},
		"by an alternative name":         {selectors: config.Selectors{IfNames: []string{"rail*"}}, want: "mlx5_9"},
		"by the bond":                    {selectors: config.Selectors{IfNames: []string{"bond0"}}, want: "bnxt_re1 mlx5_0"},
		"by PCI address":                 {selectors: config.Selectors{PCIAddresses: []string{"0000:0b:00.0", "0000:08:*"}}, want: "bnxt_re1 mlx5_0 mlx5_11"},
		"by auxiliary address":           {selectors: config.Selectors{PCIAddresses: []string{"mlx5_core.sf.2"}}, want: "mlx5_10"},
		"by RDMA device":                 {selectors: config.Selectors{RDMADevices: []string{"mlx5_?", "rxe20"}}, want: "mlx5_0 mlx5_3 mlx5_9 rxe20"},
		"by NUMA node":                   {selectors: config.Selectors{NUMANodes: []int{1}}, want: "mlx5_9"},
		"what runs on Ethernet":          {selectors: config.Selectors{IsRoCE: &yes}, want: "bnxt_re1 irdma2 mlx5_0 mlx5_10 mlx5_11 mlx5_9 rxe20"},
		"what does not":                  {selectors: config.Selectors{IsRoCE: &no}, want: "mlx5_3"},
		"all but those that are named":   {config.Selectors{Vendors: []string{"15b3"}}, config.Selectors{IfNames: []string{far.Netdev}, IsRoCE: &no}, "mlx5_0 mlx5_10 mlx5_11"},
		"all but what a pattern matches": {config.Selectors{Vendors: []string{"15b3"}}, config.Selectors{RDMADevices: []string{"mlx5_1?"}}, "mlx5_0 mlx5_3 mlx5_9"},
		"by vendor":                      {selectors: config.Selectors{Vendors: []string{"15b3"}}, want: "mlx5_0 mlx5_10 mlx5_11 mlx5_3 mlx5_9"},
		"by one of several":              {selectors: config.Selectors{Vendors: []string{"14e4", "8086"}}, want: "bnxt_re1 irdma2"},
		"by device ID":                   {selectors: config.Selectors{DeviceIDs: []string{"101e"}}, want: "mlx5_11"},
		"a driver by a part of its name": {selectors: config.Selectors{Drivers: []string{"mlx5", "mlx5_core2"}}, want: ""},
		"by driver":                      {selectors: config.Selectors{Drivers: []string{"mlx5_core", "ice"}}, want: "irdma2 mlx5_0 mlx5_11 mlx5_3 mlx5_9"},
		"by netdev":                      {selectors: config.Selectors{IfNames: []string{"ens11np0", "ens12np0", "eth9"}}, want: "bnxt_re1 mlx5_0"},
		"Soft-RoCE by its netdev":        {selectors: config.Selectors{IfNames: []string{nic.Netdev}}, want: "rxe20"},
		"Soft-RoCE by the NIC":           {selectors: config.Selectors{Vendors: []string{"1af4"}}, want: "rxe20"},
		"by link type":                   {selectors: config.Selectors{LinkTypes: []string{"infiniband"}}, want: "mlx5_3"},
		"by two lists at once":           {selectors: config.Selectors{Vendors: []string{"15b3"}, LinkTypes: []string{"ether"}}, want: "mlx5_0 mlx5_10 mlx5_11 mlx5_9"},
		"what contradicts itself":        {selectors: config.Selectors{Vendors: []string{"15b3"}, Drivers: []string{"ice"}}, want: ""},
		"names in their own case":        {selectors: config.Selectors{IfNames: []string{"ENS11NP0"}}, want: ""},
		"a device without umad":          {selectors: config.Selectors{Vendors: []string{"8086"}}, want: "irdma2"},
		"an SF by its own netdev":        {selectors: config.Selectors{IfNames: []string{"ens11f0s2"}}, want: "mlx5_10"},
		"a VF without a node GUID":       {selectors: config.Selectors{IfNames: []string{"ens11v0"}}, want: "mlx5_11"},
	} {
		for f, value := range reflect.ValueOf(test.selectors).Fields() {
			if !value.IsZero() {
				delete(untried, f.Name)
			}
		}
		t.Run(name, func(t *testing.T) {
			var chosen []inventory.Device
			for _, d := range devices {
				if Mismatch(config.Resource{Selectors: test.selectors, Exclude: test.exclude}, d) == "" {
					chosen = append(chosen, d)
				}
			}
			if got := names(chosen); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	if len(untried) > 0 {
		t.Errorf("nothing is chosen by %v", untried)
	}
}

// A selector that is never compared would select everything, or, as an
// exclusion, nothing.
func TestEverySelectorLeavesADeviceOutAndSaysWhich(t *testing.T) {
	d := inventory.Device{} // without a port it is not RoCE
	for f := range reflect.TypeFor[config.Selectors]().Fields() {
		var selectors config.Selectors
		value, yes := reflect.ValueOf(&selectors).Elem().FieldByIndex(f.Index), true
		switch value.Interface().(type) {
		case []string:
			value.Set(reflect.ValueOf([]string{"not this one"}))
		case []int:
			value.Set(reflect.ValueOf([]int{1000}))
		case *bool:
			value.Set(reflect.ValueOf(&yes))
		default:
			t.Fatalf("say here what value of %s, a %s, matches no device", f.Name, f.Type)
		}
		why := Mismatch(config.Resource{Selectors: selectors}, d)
		if key, _, _ := strings.Cut(why, ":"); !strings.EqualFold(key, f.Name) {
			t.Errorf("by %s: %q", f.Name, why)
		}
	}
}
