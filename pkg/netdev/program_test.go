package netdev

import (
	"log/slog"
	"strings"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	fixture "github.com/roce-k8s/roce-k8s/test/fixtures/bpf"
)

// loadProgram loads one that drops whatever it is.
func loadProgram(t *testing.T, kind, hook uint32) uint32 {
	t.Helper()
	fd, err := fixture.Load(t, kind, hook)
	if err != nil {
		t.Skip("the kernel loads no programs: ", err)
	}
	return uint32(fd)
}

// Whoever has a NIC may also hold a program on it by a BPF link. The same program is
// on another NIC, which nobody asks about.
func TestEveryProgramOnALinkIsSeenAndDetachedAndThoseOnOthersStay(t *testing.T) {
	byLink := func(hook, flags uint32) func(*testing.T, uint32, int) error {
		return func(t *testing.T, program uint32, index int) error {
			link := struct{ program, target, attach, flags uint32 }{program, uint32(index), hook, flags}
			fd, err := bpf(unix.BPF_LINK_CREATE, unsafe.Pointer(&link), unsafe.Sizeof(link))
			if err == nil {
				t.Cleanup(func() { _ = unix.Close(fd) })
			}
			return err
		}
	}
	xdp := func(flags int) func(*testing.T, uint32, int) error {
		return func(_ *testing.T, program uint32, index int) error {
			return netlink.LinkSetXdpFdWithFlags(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, int(program), flags)
		}
	}
	tcx := func(hook uint32) func(*testing.T, uint32, int) error {
		return func(_ *testing.T, program uint32, index int) error {
			attach := struct{ target, program, attach, flags uint32 }{uint32(index), program, hook, 0}
			_, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attach), unsafe.Sizeof(attach))
			return err
		}
	}
	for name, tt := range map[string]struct {
		attach func(*testing.T, uint32, int) error
		want   Program
		held   bool // by a link that a Program knows of
	}{
		"XDP of the driver":              {xdp(unix.XDP_FLAGS_DRV_MODE), Program{Hook: "XDP", attach: unix.BPF_XDP, flag: unix.XDP_FLAGS_DRV_MODE}, false},
		"XDP without it":                 {xdp(unix.XDP_FLAGS_SKB_MODE), Program{Hook: "XDP", attach: unix.BPF_XDP, flag: unix.XDP_FLAGS_SKB_MODE}, false},
		"XDP of the driver, by a link":   {byLink(unix.BPF_XDP, unix.XDP_FLAGS_DRV_MODE), Program{Hook: "XDP", attach: unix.BPF_XDP, flag: unix.XDP_FLAGS_DRV_MODE}, false},
		"XDP without it, by a link":      {byLink(unix.BPF_XDP, unix.XDP_FLAGS_SKB_MODE), Program{Hook: "XDP", attach: unix.BPF_XDP, flag: unix.XDP_FLAGS_SKB_MODE}, false},
		"what comes in":                  {tcx(unix.BPF_TCX_INGRESS), Program{Hook: "tcx", attach: unix.BPF_TCX_INGRESS}, false},
		"what goes out":                  {tcx(unix.BPF_TCX_EGRESS), Program{Hook: "tcx", attach: unix.BPF_TCX_EGRESS}, false},
		"what comes in, by a link":       {byLink(unix.BPF_TCX_INGRESS, 0), Program{Hook: "tcx", attach: unix.BPF_TCX_INGRESS}, true},
		"what goes out, by another link": {byLink(unix.BPF_TCX_EGRESS, 0), Program{Hook: "tcx", attach: unix.BPF_TCX_EGRESS}, true},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNamespaceOfItsOwn(t, "one", "two")
			kind, hook := uint32(unix.BPF_PROG_TYPE_XDP), uint32(0)
			if tt.want.Hook == "tcx" {
				kind, hook = unix.BPF_PROG_TYPE_SCHED_CLS, tt.want.attach
			}
			program := loadProgram(t, kind, hook)
			expect := func(when, name string, there bool) []Program {
				t.Helper()
				programs, err := n.Programs(n.mustFind(t, name))
				if err != nil || len(programs) > 0 != there || len(programs) > 1 {
					t.Fatalf("%s: %+v on %s, %v", when, programs, name, err)
				}
				return programs
			}
			for _, name := range []string{"two", "one"} { // the other's link is found first
				if err := tt.attach(t, program, n.mustFind(t, name).Attrs().Index); err != nil {
					t.Skip("not on this kernel: ", err)
				}
			}
			found := expect("attached", "one", true)
			is := found[0]
			if is.ID == 0 || (is.link != 0) != tt.held || is != (Program{tt.want.Hook, is.ID, tt.want.attach, tt.want.flag, is.link}) {
				t.Errorf("%+v, want %+v", is, tt.want)
			}
			// One that is gone keeps no other.
			gone := Program{Hook: "tcx", ID: 1 << 30, attach: unix.BPF_TCX_INGRESS}
			if err := n.Detach(n.mustFind(t, "one"), append([]Program{gone}, found...)); err == nil || !strings.HasPrefix(err.Error(), "detach tcx program 1073741824: ") || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v", err)
			}
			expect("detached", "one", false)
			expect("detached from the other", "two", true)
			two := n.mustFind(t, "two")
			s, err := n.State(t.Context(), two)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := n.Restore(t.Context(), n, two, IdentityOf(two), s, slog.New(slog.DiscardHandler)); err != nil {
				t.Error(err)
			}
			expect("restored", "two", false)
		})
	}
}
