// Package retry repeats what may succeed in a moment: the kernel is still at
// it, or somebody else is. It must not know what is repeated.
package retry

import (
	"context"
	"time"
)

// Until calls try until it is done or fails, with a pause between two calls
// that doubles from first to longest. It returns the error of try, or that of
// ctx when ctx ends first; try is called at least once.
func Until(ctx context.Context, first, longest time.Duration, try func() (done bool, err error)) error {
	for pause := first; ; pause = min(2*pause, longest) {
		if done, err := try(); done || err != nil {
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
}
