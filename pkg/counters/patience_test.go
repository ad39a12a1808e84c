package counters

import (
	"context"
	"errors"
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
		if _, err := try(ctx, p, "a", call); !errors.Is(err, errSilent) {
			t.Errorf("it returned: %v", err)
		}
	}
	p.longest = time.Minute // for whoever answers
	if answer, err := try(ctx, p, "b", func() int { return 8 }); err != nil || answer != 8 {
		t.Errorf("another subject: %d, %v", answer, err)
	}
	close(hang)
	p.calls.Wait()
	if calls != 1 {
		t.Errorf("called %d times", calls)
	}
	for range 100 { // whoever has an answer may ask again at once
		if answer, err := try(ctx, p, "a", call); err != nil || answer != 7 {
			t.Fatalf("%d, %v", answer, err)
		}
	}
}

func TestTheTimeThatOthersTookIsNotHeldAgainstASubject(t *testing.T) {
	p := newPatience()
	ctx, cancel := context.WithCancel(context.Background())
	hang := make(chan struct{})
	if _, err := try(ctx, p, "cut short", func() int { cancel(); <-hang; return 0 }); !errors.Is(err, errNoTime) {
		t.Errorf("cut short: %v", err)
	}
	called := false
	if _, err := try(ctx, p, "after the end", func() int { called = true; return 0 }); !errors.Is(err, errNoTime) {
		t.Errorf("after the end: %v", err)
	}
	close(hang)
	p.calls.Wait()
	if called {
		t.Error("called after the end")
	}
}
