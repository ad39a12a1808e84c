package retry_test

import (
	"context"
	"errors"
	"testing"
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
	calls, begin := 0, time.Now()
	_ = retry.Until(t.Context(), time.Millisecond, 4*time.Millisecond, func() (bool, error) {
		calls++
		return calls == 14, nil
	})
	const least = (1 + 2 + 11*4) * time.Millisecond
	if took := time.Since(begin); took < least || took > 50*least { // a busy machine takes its time
		t.Errorf("%d calls took %s, want some more than %s", calls, took, least)
	}
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
