package cni

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestAnIPAMPluginIsAskedForTwoNICsAtATimeAndDHCPForAll(t *testing.T) {
	for ipam, want := range map[string]int{"host-local": 2, "whereabouts": 2, ipamInPod: 8} {
		synctest.Test(t, func(t *testing.T) {
			q, begun, ended := newIPAMQueue(), make(chan struct{}, 8), make(chan struct{})
			answered := make(chan error, 8)
			for range 8 {
				go func() {
					answered <- q.ask(t.Context(), ipam, time.Minute, func(context.Context) error {
						begun <- struct{}{}
						<-ended
						return nil
					})
				}()
			}
			synctest.Wait()
			if len(begun) != want {
				t.Errorf("%s: asked for %d NICs at once, want %d", ipam, len(begun), want)
			}
			close(ended)
			for range 8 {
				if err := <-answered; err != nil {
					t.Errorf("%s: %v", ipam, err)
				}
			}
		})
	}
}

// One that fails at once says something else about each NIC.
func TestAnIPAMPluginThatDoesNotAnswerIsNotAskedForTheNextNICs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, begin, hung, refused := newIPAMQueue(), time.Now(), 0, errors.New("refused")
		answered := make(chan error, 8)
		for range 8 {
			go func() {
				answered <- q.ask(t.Context(), "hangs", time.Minute, func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				})
			}()
		}
		for range 8 {
			if err := <-answered; errors.Is(err, context.DeadlineExceeded) {
				hung++
			} else if !errors.Is(err, errSilent) {
				t.Error(err)
			}
		}
		if took := time.Since(begin); hung > lanes || took != time.Minute {
			t.Errorf("%d of 8 hung, %v", hung, took)
		}
		for range 2 {
			if err := q.ask(t.Context(), "another", time.Minute, func(context.Context) error { return refused }); !errors.Is(err, refused) {
				t.Error(err)
			}
		}
	})
}

func TestAnAnswersTimeBeginsWithTheNICsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q, answered := newIPAMQueue(), make(chan error, 8)
		for range 8 {
			go func() {
				answered <- q.ask(t.Context(), "slow", time.Minute, func(ctx context.Context) error {
					time.Sleep(50 * time.Second)
					return ctx.Err()
				})
			}()
		}
		for range 8 {
			if err := <-answered; err != nil {
				t.Error(err)
			}
		}
	})
}
