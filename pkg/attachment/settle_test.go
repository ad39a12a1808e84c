package attachment_test

import (
	"bytes"
	"log/slog"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
)

func TestWhatIsOwedToABusyNICIsNotWaitedFor(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	r := record("c1")
	must(t, j.Owe(r))
	lock, err := j.LockNIC(t.Context(), r.NIC.Netdev.Key(), r.Host.Name, "an ADD")
	must(t, err)
	defer lock.Unlock()
	owed, err := j.Owed()
	must(t, err)
	var log bytes.Buffer
	begin := time.Now()
	next := attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner {
		return attachment.Returner{Journal: j, Log: slog.New(slog.NewTextHandler(&log, nil))}
	})
	if took := time.Since(begin); took > 10*time.Second || !next.IsZero() || log.Len() > 0 {
		t.Errorf("after %s, again at %s:\n%s", took, next, &log)
	}
	if owed, err := j.Owed(); len(owed) != 1 || err != nil {
		t.Errorf("owed: %v, %v", owed, err)
	}
}

func TestWhatIsOwedFallsDueWhenAManagerHasHadItsTimeOrTheClockWentBack(t *testing.T) {
	for name, back := range map[string]time.Duration{"just back": 0, "a while ago": -time.Minute, "in a time to come": time.Hour} {
		r := record("c1")
		r.Manager, r.Back = netmanager.NetworkManager, time.Now().Add(back)
		if due, want := !time.Now().Before(r.Due()), back != 0; due != want {
			t.Errorf("%s: due %v, want %v", name, due, want)
		}
	}
}
