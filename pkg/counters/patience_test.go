package counters

import (
	"context"
	"testing"
	"time"
)

func TestWhatDoesNotReturnIsNotCalledAgainBeforeItDoes(t *testing.T) {
	p := newPatience()
	p.longest = 20 * time.Millisecond
	ctx, hang, calls := context.Background(), make(chan struct{}), 0
	call := func() int {
		calls++
		<-hang
		return 7
	}
	for range 3 {
		if _, ok := try(ctx, p, "a", call); ok {
			t.Error("it returned")
		}
	}
	if answer, ok := try(ctx, p, "b", func() int { return 8 }); !ok || answer != 8 {
		t.Errorf("another subject: %d, %v", answer, ok)
	}
	close(hang)
	p.calls.Wait()
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
	for range 100 { // whoever has an answer may ask again at once
		if answer, ok := try(ctx, p, "a", call); !ok || answer != 7 {
			t.Fatalf("%d, %v", answer, ok)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, ok := try(ended, p, "c", func() int { time.Sleep(5 * time.Millisecond); return 0 }); ok {
		t.Error("waited after the end")
	}
	p.calls.Wait()
}
