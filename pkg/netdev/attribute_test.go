package netdev

import (
	"bytes"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

func TestAnAttributeIsFoundByItsPath(t *testing.T) {
	data := slices.Concat(
		nl.NewRtAttr(1, []byte("odd")).Serialize(),
		attribute(2, nl.NewRtAttr(3, []byte{7})).Serialize(),
		nl.NewRtAttr(4, nil).Serialize(),
	)
	for _, test := range []struct {
		path []uint16
		want []byte
	}{
		{[]uint16{1}, []byte("odd")}, {[]uint16{2, 3}, []byte{7}}, {[]uint16{4}, []byte{}},
		{[]uint16{3}, nil}, {[]uint16{2, 1}, nil}, {[]uint16{5, 3}, nil},
	} {
		if got := valueAt(data, test.path...); !bytes.Equal(got, test.want) || (got == nil) != (test.want == nil) {
			t.Errorf("%v: %v instead of %v", test.path, got, test.want)
		}
	}
}

func TestWhatCannotBeParsedEndsTheAttributes(t *testing.T) {
	whole := nl.NewRtAttr(unix.IFLA_MTU, []byte{1, 2, 3, 4}).Serialize()
	for _, rest := range [][]byte{nil, {9}, {0, 0, 5, 0}, {3, 0, 5, 0}, {9, 0, 5, 0, 1}} {
		var kinds []uint16
		for kind := range Attributes(slices.Concat(whole, rest)) {
			kinds = append(kinds, kind)
		}
		if !slices.Equal(kinds, []uint16{unix.IFLA_MTU}) {
			t.Errorf("%v behind it: %v", rest, kinds)
		}
	}
}
