package netdev

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The kernel marks the first message after a change, and not those that follow
// (nl_dump_check_consistent).
func TestAListThatChangedIsInterruptedWhereverItsMarkIs(t *testing.T) {
	const request, marked = 7, unix.NLM_F_MULTI | unix.NLM_F_DUMP_INTR
	for name, tt := range map[string]struct {
		flags       [3]uint16 // of two answers and the end
		interrupted bool
	}{
		"nowhere":           {[3]uint16{unix.NLM_F_MULTI, unix.NLM_F_MULTI, unix.NLM_F_MULTI}, false},
		"on the first":      {[3]uint16{marked, unix.NLM_F_MULTI, unix.NLM_F_MULTI}, true},
		"in the middle":     {[3]uint16{unix.NLM_F_MULTI, marked, unix.NLM_F_MULTI}, true},
		"on the end of all": {[3]uint16{unix.NLM_F_MULTI, unix.NLM_F_MULTI, marked}, true},
	} {
		message := func(number uint32, kind, flags uint16, data string) syscall.NetlinkMessage {
			return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: kind, Flags: flags, Seq: number}, Data: []byte(data)}
		}
		datagrams := [][]syscall.NetlinkMessage{
			{message(request-1, unix.RTM_NEWLINK, marked, "of another request"), message(request, unix.RTM_NEWLINK, tt.flags[0], "first")},
			{message(request, unix.RTM_NEWLINK, tt.flags[1], "second")},
			{message(request, unix.NLMSG_DONE, tt.flags[2], "\x00\x00\x00\x00")},
		}
		answers, err := gather(request, unix.NLM_F_DUMP, func() (next []syscall.NetlinkMessage, err error) {
			next, datagrams = datagrams[0], datagrams[1:]
			return next, nil
		})
		if errors.Is(err, netlink.ErrDumpInterrupted) != tt.interrupted || err != nil && !tt.interrupted {
			t.Errorf("%s: %v", name, err)
		}
		var texts []string
		for _, a := range answers {
			texts = append(texts, string(a))
		}
		if !slices.Equal(texts, []string{"first", "second"}) {
			t.Errorf("%s: %q", name, texts)
		}
	}
}
