package netdev

import (
	"slices"
	"testing"
)

func TestQueueingDisciplinesAreSetFromTheRootDown(t *testing.T) {
	const root, clsact = 0xffffffff, 0xfffffff1
	leaf, middle, top := Qdisc{Handle: 0x30_0000, Parent: 0x10_0001}, Qdisc{Handle: 0x10_0000, Parent: 0x20_0001}, Qdisc{Handle: 0x20_0000, Parent: root}
	filters, queue := Qdisc{Handle: 0xffff_0000, Parent: clsact}, Qdisc{Handle: 0x80_0000, Parent: 1} // of mq, which has no handle
	circle := []Qdisc{{Handle: 0x1_0000, Parent: 0x2_0001}, {Handle: 0x2_0000, Parent: 0x1_0001}}
	for name, tt := range map[string]struct{ list, want []uint32 }{
		"as the kernel tells them": {[]uint32{top.Handle, leaf.Handle, middle.Handle}, []uint32{top.Handle, middle.Handle, leaf.Handle}},
		"with filters":             {[]uint32{leaf.Handle, filters.Handle, middle.Handle, top.Handle}, []uint32{filters.Handle, top.Handle, middle.Handle, leaf.Handle}},
		"of a queue":               {[]uint32{queue.Handle, leaf.Handle, middle.Handle}, []uint32{queue.Handle, middle.Handle, leaf.Handle}},
	} {
		var list []Qdisc
		for _, handle := range tt.list {
			all := []Qdisc{leaf, middle, top, filters, queue}
			list = append(list, all[slices.IndexFunc(all, func(q Qdisc) bool { return q.Handle == handle })])
		}
		var have []uint32
		for _, q := range parentsFirst(list) {
			have = append(have, q.Handle)
		}
		if !slices.Equal(have, tt.want) {
			t.Errorf("%s: %x, want %x", name, have, tt.want)
		}
	}
	if have := parentsFirst(circle); len(have) != 2 {
		t.Errorf("a circle: %v", have)
	}
}
