package netdev

import (
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// The library has the same structure, without what newer kernels added.
func TestStatisticsAreNamedInTheKernelsOrder(t *testing.T) {
	names := statisticNames()
	word := regexp.MustCompile("(.)([A-Z])")
	for i, field := range reflect.VisibleFields(reflect.TypeFor[netlink.LinkStatistics64]()) {
		if want := strings.ToLower(word.ReplaceAllString(field.Name, "${1}_$2")); names[i] != want {
			t.Errorf("field %d is %s, want %s", i, names[i], want)
		}
	}
}
