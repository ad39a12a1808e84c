package watch_test

import (
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/watch"
)

func TestLooksTakeATenthOfTheTimeUnlessOneTakesMoreThanThreeSeconds(t *testing.T) {
	const some = 50 * time.Millisecond // for other events to come
	for took, want := range map[time.Duration]time.Duration{
		0: some, time.Millisecond: some, 20 * time.Millisecond: 200 * time.Millisecond,
		2 * time.Second: 20 * time.Second, time.Minute: 30 * time.Second,
	} {
		if rest := watch.Rest(took); rest != want {
			t.Errorf("after one of %s, %s", took, rest)
		}
	}
}
