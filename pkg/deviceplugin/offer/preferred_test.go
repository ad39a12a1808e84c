package offer

import (
	"fmt"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestPreferredUnitsAreNearEachOther(t *testing.T) {
	// 0 to 3 and 4 to 7 are below one root port each on NUMA node 0, 8 to 11
	// below one on node 1.
	var hcas []sysfs.HCA
	for i := range 12 {
		hcas = append(hcas, sysfs.MLX5(i))
	}
	n := newTestNode(t, hcas...)
	o := New(config.Resource{Mode: config.PerDevice, Units: 2}, n.candidates(), true, nil)
	id := func(i, rank int) string {
		if rank > 0 {
			return fmt.Sprintf("%s-%d", hcas[i].PCI, rank)
		}
		return hcas[i].PCI
	}
	ids := func(numbers ...int) []string {
		var s []string
		for _, i := range numbers {
			s = append(s, id(i, 0))
		}
		return s
	}
	for name, test := range map[string]struct {
		available, must []string
		size            int
		want            []string
	}{
		"one root port that has just enough":     {ids(0, 1, 2, 4, 5), nil, 2, ids(4, 5)},
		"one NUMA node when a port is too small": {ids(0, 1, 4, 5, 8, 9), nil, 3, ids(0, 1, 4)},
		"the smallest NUMA node that will do":    {ids(0, 1, 2, 3, 4, 8, 9, 10), nil, 3, ids(8, 9, 10)},
		"as few nodes as can be":                 {ids(0, 1, 2, 8, 9), nil, 4, ids(0, 1, 2, 8)},
		"near those that it must have":           {ids(0, 1, 2, 3, 4, 5, 9), ids(5), 2, ids(5, 4)},
		"the node of those that it must have":    {ids(0, 1, 2, 8, 9), ids(8), 3, ids(8, 9, 0)},
		"all of them":                            {ids(3, 2, 1), nil, 3, ids(1, 2, 3)},
		"an ID that is there twice":              {ids(0, 0, 1), nil, 2, ids(0, 1)},
		"none":                                   {ids(0, 1), nil, 0, nil},
		"must, and no more":                      {ids(0, 1), ids(1), 1, ids(1)},
		"different devices before second units":  {[]string{id(0, 1), id(0, 0), id(1, 1), id(1, 0)}, nil, 2, ids(0, 1)},
		"second units if that is all":            {[]string{id(0, 1), id(0, 0), id(1, 1)}, nil, 3, []string{id(0, 0), id(0, 1), id(1, 1)}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := o.preferred(slices.Concat(test.available, test.must), test.must, test.size)
			n.Must(err)
			if !slices.Equal(got, test.want) {
				t.Errorf("got %v, want %v", got, test.want)
			}
		})
	}
	if _, err := o.preferred(nil, []string{"9999:00:00.0"}, 1); err == nil {
		t.Error("an unknown ID is preferred")
	}
	if got, err := o.preferred([]string{"9999:00:00.0", id(1, 0)}, nil, 1); err != nil || !slices.Equal(got, ids(1)) {
		t.Errorf("one has left: %v, %v", got, err)
	}
}
