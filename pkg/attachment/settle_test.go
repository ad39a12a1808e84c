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
	for name, tt := range map[string]struct {
		manager netmanager.Manager
		back    time.Duration
		due     bool
	}{
		"nobody configures it": {netmanager.None, 0, true},
		"just back":            {netmanager.NetworkManager, 0, false},
		"some seconds ago":     {netmanager.Ifupdown, -10 * time.Second, false},
		"a while ago":          {netmanager.NetworkManager, -time.Minute, true},
		"in a time to come":    {netmanager.NetworkManager, time.Hour, true},
	} {
		r := record("c1")
		r.Manager, r.Back = tt.manager, time.Now().Add(tt.back)
		if due := !time.Now().Before(r.Due()); due != tt.due {
			t.Errorf("%s: due %v, want %v", name, due, tt.due)
		}
	}
}

func TestTheNextTryIsWhenTheFirstOfThemFallsDue(t *testing.T) {
	j := open(t, t.TempDir(), "boot-1")
	var owed []*attachment.Record
	for _, ago := range []time.Duration{time.Second, 5 * time.Second, 3 * time.Second} {
		r := record("c1")
		r.Manager, r.Back = netmanager.NetworkManager, time.Now().Add(-ago)
		owed = append(owed, r)
	}
	next := attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner {
		t.Error("one is tried before")
		return attachment.Returner{Journal: j, Log: slog.New(slog.DiscardHandler)}
	})
	if !next.Equal(owed[1].Due()) {
		t.Errorf("at %s, want %s", next, owed[1].Due())
	}
}
