package scenario

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// restarts is how often a test restarts what it restarts: ROCE_TEST_RESTARTS,
// or 200, or 20 with -short.
func restarts(t *testing.T) int {
	t.Helper()
	if s := os.Getenv("ROCE_TEST_RESTARTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("ROCE_TEST_RESTARTS is %q, not a number of restarts", s)
		}
		return n
	}
	if testing.Short() {
		return 20
	}
	return 200
}

// durations of one kind.
type durations []time.Duration

// String is their distribution.
func (d durations) String() string {
	if len(d) == 0 {
		return "none"
	}
	sorted := slices.Sorted(slices.Values(d))
	at := func(percent int) string {
		return sorted[(len(sorted)-1)*percent/100].Round(100 * time.Microsecond).String()
	}
	return fmt.Sprintf("%d times, min %s, p50 %s, p90 %s, p99 %s, max %s", len(d), at(0), at(50), at(90), at(99), at(100))
}
