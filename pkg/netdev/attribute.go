package netdev

import (
	"encoding/binary"
	"iter"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// attribute is a netlink attribute with other ones in it.
func attribute(kind int, nested ...*nl.RtAttr) *nl.RtAttr {
	a := nl.NewRtAttr(kind|unix.NLA_F_NESTED, nil)
	for _, n := range nested {
		a.AddChild(n)
	}
	return a
}

// Attributes goes through the netlink attributes in data, by their type. What cannot
// be parsed ends them. It copies nothing: a link has a hundred, of which a question is
// about one or two, and a node has hundreds of links.
func Attributes(data []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(kind uint16, value []byte) bool) {
		for len(data) >= unix.SizeofNlAttr {
			length := int(binary.NativeEndian.Uint16(data))
			if length < unix.SizeofNlAttr || length > len(data) {
				return
			}
			kind := binary.NativeEndian.Uint16(data[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if !yield(kind, data[unix.SizeofNlAttr:length]) {
				return
			}
			data = data[min(align(length), len(data)):]
		}
	}
}

// valueAt is that of the attribute in data at the end of a path of types, nil if
// there is none.
func valueAt(data []byte, path ...uint16) []byte {
	for _, kind := range path {
		data = first(data, kind)
	}
	return data
}

func first(data []byte, wanted uint16) []byte {
	for kind, value := range Attributes(data) {
		if kind == wanted {
			return value
		}
	}
	return nil
}

// align rounds up to where the next attribute or message begins.
func align(length int) int { return (length + unix.NLA_ALIGNTO - 1) &^ (unix.NLA_ALIGNTO - 1) }

// number32 is that of an attribute of four bytes; other values have none.
func number32(value []byte) (number uint32, ok bool) {
	if len(value) != 4 {
		return 0, false
	}
	return binary.NativeEndian.Uint32(value), true
}

// nonZero is what makes a value say something.
func nonZero(b byte) bool { return b != 0 }

// numberIn is number32 of a value that says 0 by its absence.
func numberIn(value []byte) int {
	number, _ := number32(value)
	return int(number)
}

// ofLink are the attributes of an answer to RTM_GETLINK.
func ofLink(answer []byte) []byte { return answer[unix.SizeofIfInfomsg:] }
