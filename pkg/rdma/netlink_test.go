package rdma

import (
	"slices"
	"testing"

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
