package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// ErrFinal in a condition's error says that waiting is no use.
var ErrFinal = errors.New("no use to wait")

// Eventually waits until the condition holds, or for the error that says what
// is missing when ctx ends.
func Eventually(ctx context.Context, condition func() error) error {
	for {
		err := condition()
		if err == nil || errors.Is(err, ErrFinal) {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", context.Cause(ctx), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
