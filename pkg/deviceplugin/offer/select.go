package offer

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// Mismatch says why a resource's selectors leave a device out, "" if they
// choose it.
func Mismatch(r config.Resource, d inventory.Device) string {
	for _, c := range criteria(r.Selectors, d) {
		if c.asked && !c.met {
			return fmt.Sprintf("%s: it has %s", c.key, c.has)
		}
	}
	for _, c := range criteria(r.Exclude, d) {
		if c.asked && c.met {
			return fmt.Sprintf("exclude %s: it has %s", c.key, c.has)
		}
	}
	return ""
}

// A criterion is one list of the selectors, applied to a device.
type criterion struct {
	key        string
	asked, met bool
	has        string
}

func criteria(s config.Selectors, d inventory.Device) []criterion {
	netdevs := slices.Concat(d.Netdevs, d.AltNames, d.Masters)
	all := []criterion{
		compare("vendors", s.Vendors, one(d.Vendor), strings.EqualFold),
		compare("deviceIDs", s.DeviceIDs, one(d.DeviceID), strings.EqualFold),
		compare("drivers", s.Drivers, one(d.Driver), same),
		compare("ifNames", s.IfNames, netdevs, matches),
		compare("linkTypes", s.LinkTypes, one(d.LinkType), strings.EqualFold),
		compare("pciAddresses", s.PCIAddresses, one(strings.ToLower(d.Address)), matches),
		compare("rdmaDevices", s.RDMADevices, one(d.Name), matches),
		compare("numaNodes", itoa(s.NUMANodes), one(strconv.Itoa(d.NUMANode)), same),
	}
	if s.IsRoCE != nil {
		all = append(all, compare("isRoCE", one(strconv.FormatBool(*s.IsRoCE)), one(strconv.FormatBool(d.IsRoCE())), same))
	}
	return all
}

func compare(key string, want, has []string, equal func(want, has string) bool) criterion {
	c := criterion{key: key, asked: len(want) > 0, has: "none"}
	if len(has) > 0 {
		c.has = strings.Join(has, ", ")
	}
	for _, w := range want {
		c.met = c.met || slices.ContainsFunc(has, func(h string) bool { return equal(w, h) })
	}
	return c
}

func same(a, b string) bool { return a == b }

// matches compares with a shell pattern; the configuration's are all valid.
func matches(pattern, name string) bool {
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func one(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

func itoa(numbers []int) []string {
	var texts []string
	for _, n := range numbers {
		texts = append(texts, strconv.Itoa(n))
	}
	return texts
}
