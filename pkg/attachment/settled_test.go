package attachment_test

import (
	"bytes"
	"log/slog"
	"os/exec"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// The device plugin settles for as long as it runs.
func TestWhatIsOwedIsSettledAgainAndAgain(t *testing.T) {
	host := node.NewHost(t)
	j := open(t, t.TempDir(), "boot-1")
	var records []*attachment.Record
	shell := func(commands string) string {
		t.Helper()
		out, err := exec.Command("bash", "-ec", commands).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return string(out)
	}
	for i, name := range []string{"nic0", "nic1"} {
		link := node.AddNIC(t, host, name)
		shell("ip link set " + name + " up; ip link set " + name + "w up; ip addr add 192.0.2." + string(rune('1'+i)) + "/24 dev " + name)
		r := record("c" + name)
		var err error
		r.NIC.Netdev = netdev.IdentityOf(link)
		r.Host, err = host.State(t.Context(), link)
		must(t, err)
		records = append(records, r)
	}
	var log bytes.Buffer
	for range 3 {
		// One has got another address meanwhile: only a network manager's doing would
		// say that the host wants it so.
		shell("ip link set nic0 name dev7; ip link set nic1 name dev8; ip addr flush dev dev7; ip addr flush dev dev8; ip addr add 203.0.113.7/24 dev dev7")
		for _, r := range records {
			must(t, j.Owe(r))
		}
		owed, err := j.Owed()
		must(t, err)
		if next := attachment.SettleDue(t.Context(), owed, func(*attachment.Record) attachment.Returner {
			return attachment.Returner{Journal: j, Host: host, Who: "a test", Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))}
		}); !next.IsZero() {
			t.Errorf("again at %s", next)
		}
		for _, want := range []string{"192.0.2.1/24", "192.0.2.2/24"} {
			if have := shell("ip addr show dev nic0; ip addr show dev nic1"); !strings.Contains(have, want) {
				t.Errorf("no %s in\n%s", want, have)
			}
		}
		if owed, err := j.Owed(); len(owed) != 0 || err != nil || log.Len() > 0 {
			t.Errorf("still owed: %v, %v\n%s", owed, err, &log)
		}
	}
}
