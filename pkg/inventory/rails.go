package inventory

import (
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Rails numbers the rails of devices, by the device's key: physical functions in
// the order of their PCI addresses, from 0. NVML numbers GPUs in that order, and
// what is behind one root port has neighbouring addresses. What is on one
// function is on one rail. A device on no bus is on none.
func Rails(n rdma.Node, devices []Device) map[string]int {
	functions := map[string]string{} // by the device's key
	var order []string
	for _, d := range devices {
		if function := n.PhysicalFunctionOf(d.Device); function != "" {
			functions[d.Key()] = function
			order = append(order, function)
		}
	}
	slices.SortFunc(order, rdma.ComparePCI)
	order = slices.Compact(order)
	rails := map[string]int{}
	for key, function := range functions {
		rails[key], _ = slices.BinarySearchFunc(order, function, rdma.ComparePCI)
	}
	return rails
}
