package netdev

import (
	"encoding/binary"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
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

func TestAllStatisticsOfAnOlderAndANewerKernelAreRead(t *testing.T) {
	r := &StatisticsReader{names: statisticNames()}
	for _, has := range []int{0, 1, len(r.names) - 1, len(r.names), len(r.names) + 2} {
		var numbers []byte
		for i := range has {
			numbers = binary.NativeEndian.AppendUint64(numbers, uint64(100+i))
		}
		got := r.parse(append(nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize(), nl.NewRtAttr(unix.IFLA_STATS64, numbers).Serialize()...))
		want := min(has, len(r.names))
		if len(got) != want || want > 0 && got[want-1] != (Counter{r.names[want-1], uint64(99 + want)}) {
			t.Errorf("%d of a kernel that has %d, the last of them %v", len(got), has, got[max(len(got)-1, 0):])
		}
	}
}
