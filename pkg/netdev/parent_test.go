package netdev

import (
	"bytes"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What kernels before 5.14 and 5.6 leave out of a link, they tell by ioctl.
func TestADriverTellsWhereItsNICIsWhenNetlinkDoesNot(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	links, err := n.Links(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tried := false
	for _, link := range links {
		a := link.Attrs()
		if a.ParentDev == "" || !mayBeHardware(link) {
			continue
		}
		if n.Cookie != 0 && a.ParentDevBus == busOfDriver {
			t.Errorf("the driver of %s was asked, though the kernel says where it is", a.Name) // Linux 5.14, as cookies
		}
		told := a.PermHWAddr
		a.ParentDevBus, a.ParentDev, a.PermHWAddr = "", "", nil
		n.addParent(link)
		if a.ParentDev == "" {
			continue // this driver does not say
		}
		tried = true
		if a.ParentDevBus != busOfDriver || !bytes.Equal(a.PermHWAddr, told) {
			t.Errorf("%s: %s %s %s, want the permanent address %s", a.Name, a.ParentDevBus, a.ParentDev, a.PermHWAddr, told)
		}
		untold := nl.NewIfInfomsg(unix.AF_UNSPEC)
		untold.Index = int32(a.Index)
		answer := append(untold.Serialize(), nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(a.Name)).Serialize()...)
		if is := n.parentNames([][]byte{answer}).Support; is != Unsupported {
			t.Errorf("the kernel does not say where %s is, and is said to: %s", a.Name, is)
		}
		id := IdentityOf(link)
		if id.OnHost(links) != link {
			t.Errorf("%s is not found by %+v", a.Name, id)
		}
		stranger := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: a.Name, Index: a.Index + 1}} // which had the name before
		if n.addParent(stranger); stranger.ParentDev != "" {
			t.Errorf("another link is said to be on %s, too", stranger.ParentDev)
		}
		a.PermHWAddr = nil // as for another port of the function
		if told != nil && id.OnHost(links) != nil {
			t.Errorf("another port is %+v", id)
		}
	}
	if !tried {
		t.Skip("no NIC here whose driver says where it is")
	}
}

func TestAnAddressOfZerosIsNone(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	fd, err := n.ioctlSocket()
	if err != nil {
		t.Fatal(err)
	}
	if mac := permanentAddress(fd, "lo"); mac != nil {
		t.Errorf("%s", mac)
	}
}

// Drivers are asked from several goroutines, as some of them may hang.
func TestAllWhoAskAtOnceGetOneSocket(t *testing.T) {
	for range 200 {
		n, err := CurrentNamespace()
		if err != nil {
			t.Fatal(err)
		}
		var asking sync.WaitGroup
		now, got := make(chan struct{}), make([]int, 8)
		for i := range got {
			asking.Go(func() {
				<-now
				got[i], _ = n.ioctlSocket()
			})
		}
		close(now)
		asking.Wait()
		n.Close()
		for _, fd := range got {
			if fd < 0 || fd != got[0] {
				t.Fatalf("sockets %v", got)
			}
		}
	}
}
