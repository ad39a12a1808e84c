package netdev

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func TestALinkIsSetDownForAChangeThatItRefusesWhileUp(t *testing.T) {
	for name, tt := range map[string]struct {
		upAgain, downs int // how often somebody sets it up, and we set it down
		want           error
	}{
		"it takes the change": {0, 1, nil},
		"somebody sets it up": {2, 3, nil},
		"again and again":     {99, 3, unix.EBUSY},
	} {
		t.Run(name, func(t *testing.T) {
			up, downs := true, 0
			err := downIfNeedBe(func() error {
				if up {
					return unix.EBUSY
				}
				return nil
			}, func() error {
				downs++
				up = downs <= tt.upAgain
				return nil
			})
			if !errors.Is(err, tt.want) || downs != tt.downs {
				t.Errorf("%v, set down %d times", err, downs)
			}
		})
	}
	if err := downIfNeedBe(func() error { return unix.EINVAL }, func() error { t.Error("set down"); return nil }); !errors.Is(err, unix.EINVAL) {
		t.Errorf("%v", err)
	}
}
