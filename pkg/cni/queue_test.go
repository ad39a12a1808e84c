package cni

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// askedFor has eight NICs ask, one each second, and returns what they are told.
func askedFor(t *testing.T, q *ipamQueue, ipam string, exec func(context.Context) error) (told chan error) {
	told = make(chan error, 8)
	for i := range cap(told) {
		go func() {
			time.Sleep(time.Duration(i) * time.Second)
			told <- q.ask(t.Context(), ipam, exec)
		}()
	}
	return told
}

func TestAnIPAMPluginIsAskedForTwoNICsAtATimeAndDHCPForAll(t *testing.T) {
	for ipam, want := range map[string]int{"host-local": 2, "whereabouts": 2, ipamInPod: 8} {
		synctest.Test(t, func(t *testing.T) {
			begun, ended := make(chan struct{}, 8), make(chan struct{})
			told := askedFor(t, newIPAMQueue(time.Minute, time.Minute), ipam, func(context.Context) error {
				begun <- struct{}{}
				<-ended
				return nil
			})
			time.Sleep(10 * time.Second) // the test's: nobody waits
			synctest.Wait()
			if len(begun) != want {
				t.Errorf("%s: asked for %d NICs at once, want %d", ipam, len(begun), want)
			}
			close(ended)
			for range cap(told) {
				if err := <-told; err != nil {
					t.Errorf("%s: %v", ipam, err)
				}
			}
		})
	}
}

func TestAnIPAMPluginThatHangsTakesItsTimeOnceForAllNICs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newIPAMQueue(25*time.Second, time.Minute)
		for range 2 { // an ADD that is undone asks again, and has its time anew
			begin, hung, late := time.Now(), 0, 0
			told := askedFor(t, q, "hangs", func(ctx context.Context) error {
				<-ctx.Done()
				return ctx.Err()
			})
			for range cap(told) {
				switch err := <-told; {
				case errors.Is(err, context.DeadlineExceeded):
					hung++
				case errors.Is(err, errNoTimeToAsk):
					late++
				}
			}
			if took := time.Since(begin); hung != 6 || late != 2 || took != time.Minute {
				t.Errorf("%d hung, %d came too late, %v", hung, late, took)
			}
		}
	})
}

func TestASlowIPAMPluginMayTakeAllOfATurnAndOfACallsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			turn, answer time.Duration
			late         int
		}{
			{time.Minute, 14 * time.Second, 0}, {time.Minute, 21 * time.Second, 4},
			{15 * time.Second, 14 * time.Second, 0}, {15 * time.Second, 16 * time.Second, 8},
		} {
			q, late := newIPAMQueue(tt.turn, time.Minute), 0
			told := askedFor(t, q, "slow", func(ctx context.Context) error {
				select {
				case <-time.After(tt.answer):
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
			for range cap(told) {
				if err := <-told; err != nil {
					late++
				}
			}
			if late != tt.late {
				t.Errorf("with %v of %v for an answer %d NICs have none, want %d", tt.answer, tt.turn, late, tt.late)
			}
		}
	})
}
