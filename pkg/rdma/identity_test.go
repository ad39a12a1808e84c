package rdma

import "testing"

func TestADeviceWithoutANodeGUIDIsKnownByItsIndex(t *testing.T) {
	index := uint32(5)
	with := Device{Name: "mlx5_3", NodeGUID: unsetGUID, Index: &index}
	for _, tt := range []struct {
		device Device
		link   Link
		is     bool
	}{
		{with, Link{Index: 5, Name: "renamed", NodeGUID: unsetGUID}, true},
		{with, Link{Index: 5, Name: "renamed"}, true},
		{with, Link{Index: 5, Name: "another", NodeGUID: "0000:0000:0000:0001"}, false},
		{with, Link{Index: 6, Name: "mlx5_3", NodeGUID: unsetGUID}, true}, // registered anew
		{with, Link{Index: 6, Name: "another", NodeGUID: unsetGUID}, false},
		{Device{Name: "mlx5_3"}, Link{Name: "another"}, false},
		{Device{Name: "mlx5_3", NodeGUID: "0000:0000:0000:0001", Index: &index}, Link{Index: 5, Name: "mlx5_3", NodeGUID: "0000:0000:0000:0002"}, false},
	} {
		if is := tt.device.is(tt.link); is != tt.is {
			t.Errorf("%+v is %+v: %t", tt.device, tt.link, is)
		}
	}
}
