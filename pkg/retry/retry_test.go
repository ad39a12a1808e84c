package retry_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

func TestUntilRepeatsWhatIsNotDone(t *testing.T) {
	calls := 0
	err := retry.Until(t.Context(), time.Microsecond, time.Millisecond, func() (bool, error) {
		calls++
		return calls == 5, nil
	})
	if err != nil || calls != 5 {
		t.Errorf("%d calls, error %v; want 5 and none", calls, err)
	}
}

func TestPausesGrowToTheLongestAndNoFurther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // with a clock of its own
		var pauses []time.Duration
		last := time.Now()
		_ = retry.Until(t.Context(), time.Second, 5*time.Second, func() (bool, error) {
			pauses, last = append(pauses, time.Since(last)), time.Now()
			return len(pauses) == 7, nil
		})
		if want := []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second, 5 * time.Second, 5 * time.Second, 5 * time.Second}; !slices.Equal(pauses, want) {
			t.Errorf("%s, want %s", pauses, want)
		}
	})
}

func TestUntilStopsAtAnError(t *testing.T) {
	broken, calls := errors.New("broken"), 0
	err := retry.Until(t.Context(), time.Microsecond, time.Millisecond, func() (bool, error) {
		calls++
		return false, broken
	})
	if !errors.Is(err, broken) || calls != 1 {
		t.Errorf("%d calls, error %v; want one call and its error", calls, err)
	}
	if err := retry.Until(t.Context(), time.Microsecond, time.Millisecond, func() (bool, error) { return true, broken }); !errors.Is(err, broken) {
		t.Errorf("done with an error: %v", err)
	}
}

func TestUntilEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := 0
	err := retry.Until(ctx, time.Hour, time.Hour, func() (bool, error) {
		calls++
		return false, nil
	})
	if !errors.Is(err, context.Canceled) || calls != 1 {
		t.Errorf("%d calls, error %v; want one call and %v", calls, err, context.Canceled)
	}
}
