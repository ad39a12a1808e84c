package rdma

import (
	"errors"
	"slices"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// When a device leaves while the kernel lists them, the list lacks another.
func TestADeviceThatOneListLacksIsNotMissing(t *testing.T) {
	first, second, third := Link{Index: 1, Name: "mlx5_0"}, Link{Index: 2, Name: "mlx5_1"}, Link{Index: 3, Name: "mlx5_2"}
	lists := [][]Link{{first, third}, {second, third}, {second, third}}
	asked := 0
	var seen []Link
	for link, err := range inTwoLists(func() ([]Link, error) { asked++; return lists[asked-1], nil }) {
		if err != nil {
			t.Fatal(err)
		}
		seen = append(seen, link)
	}
	if !slices.Equal(seen, []Link{first, third, second}) || asked != 3 {
		t.Errorf("seen %v in %d lists", seen, asked)
	}
}

func TestAListThatFailsIsAnErrorAndNotAnEmptyOne(t *testing.T) {
	lists := 0
	var seen []error
	for _, err := range inTwoLists(func() ([]Link, error) { lists++; return nil, unix.EPERM }) {
		seen = append(seen, err)
	}
	if len(seen) != 1 || !errors.Is(seen[0], unix.EPERM) || lists != 1 {
		t.Errorf("%v in %d lists", seen, lists)
	}
}

func TestAKernelWithoutRDMAIsToldFromOneThatRefuses(t *testing.T) {
	for err, none := range map[error]bool{unix.EPROTONOSUPPORT: true, unix.ECONNREFUSED: true, unix.EPERM: false} {
		if got := explained(err); errors.Is(got, ErrNoSubsystem) != none || !none && !errors.Is(got, err) {
			t.Errorf("%v: %v", err, got)
		}
	}
}

func TestToRenameADeviceAsItIsCalledAsksNobody(t *testing.T) {
	if err := (&Namespace{}).Rename(Link{Index: 1, Name: "mlx5_0"}, "mlx5_0"); err != nil { // which has no socket
		t.Error(err)
	}
}

func TestDevicesWithoutANodeGUIDAreToldByTheirNames(t *testing.T) {
	const guid = "946d:ae03:00c6:0001"
	for _, tt := range []struct {
		device Device
		link   Link
		is     bool
	}{
		{Device{Name: "mlx5_0", NodeGUID: guid}, Link{Name: "roce0", NodeGUID: guid}, true},
		{Device{Name: "mlx5_0", NodeGUID: guid}, Link{Name: "mlx5_0", NodeGUID: "946d:ae03:00c6:0002"}, false},
		{Device{Name: "mlx5_0", NodeGUID: unsetGUID}, Link{Name: "mlx5_0", NodeGUID: unsetGUID}, true},
		{Device{Name: "mlx5_0", NodeGUID: unsetGUID}, Link{Name: "mlx5_1", NodeGUID: unsetGUID}, false},
	} {
		if is := tt.device.is(tt.link); is != tt.is {
			t.Errorf("%+v is %+v: %v", tt.device, tt.link, is)
		}
	}
}

func TestAKernelThatDoesNotKnowTheQuestionIsToldFromOneThatRefuses(t *testing.T) {
	for err, unknown := range map[error]bool{unix.EINVAL: true, unix.EOPNOTSUPP: true, unix.EPERM: false, nil: false} {
		if isUnknownCommand(err) != unknown {
			t.Errorf("%v: %v", err, !unknown)
		}
	}
}

func TestQueuePairsOfTheSystemAreNobodys(t *testing.T) {
	const reliable = 2 // IB_QPT_RC
	attr := func(kind int, value []byte) []byte { return nl.NewRtAttr(kind, value).Serialize() }
	of := func(kind byte) []byte { return attr(nldevAttrResType, []byte{kind}) }
	process := func(pid uint32) []byte { return attr(nldevAttrResPID, nl.Uint32Attr(pid)) }
	service := func(name string) []byte { return attr(nldevAttrKernName, nl.ZeroTerminated(name)) }
	for _, tt := range []struct {
		entry []byte
		want  string // "" for nobody
	}{
		{slices.Concat(of(reliable), process(77)), "process 77"},
		{slices.Concat(of(reliable), service("nvme_rdma")), "nvme_rdma"},
		{slices.Concat(of(reliable), service("mlx4_ib")), "mlx4_ib"},
		{slices.Concat(of(reliable), service("mlx5_ib")), ""}, // the driver's own half
		{slices.Concat(of(reliable), service("ib_core")), ""},
		{slices.Concat(of(qpGSI), process(77)), ""},
		{slices.Concat(of(qpSMI), service("x")), ""},
		{of(reliable), ""},
	} {
		user, ok := queuePairUser(tt.entry, "mlx5_core")
		if ok != (tt.want != "") || ok && user.String() != tt.want {
			t.Errorf("%q: %v, %v, want %q", tt.entry, user, ok, tt.want)
		}
	}
}

func TestAttributesAreReadWhateverTheirLength(t *testing.T) {
	guid := []byte{1, 0, 0xc6, 0, 3, 0xae, 0x6d, 0x94}
	link := linkOf(slices.Concat(
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated("rxe_nic")).Serialize(),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_NAME, nl.ZeroTerminated("mlx5_0")).Serialize(), // 7 bytes
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_DEV_INDEX, nl.Uint32Attr(70003)).Serialize(),
		nl.NewRtAttr(nl.RDMA_NLDEV_ATTR_NODE_GUID, guid).Serialize()))
	if want := (Link{Index: 70003, Name: "mlx5_0", NodeGUID: "946d:ae03:00c6:0001"}); link != want {
		t.Errorf("%+v, want %+v", link, want)
	}
}
