package claim_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func journal(t *testing.T, dir, boot string) *attachment.Journal {
	t.Helper()
	proc := t.TempDir()
	must(t, os.MkdirAll(filepath.Join(proc, "sys/kernel/random"), 0o755))
	must(t, os.WriteFile(filepath.Join(proc, "sys/kernel/random/boot_id"), []byte(boot+"\n"), 0o644))
	j, err := attachment.Open(dir, proc)
	must(t, err)
	return j
}

func TestASandboxLacksWhatWasNotAttachedToItInThisBoot(t *testing.T) {
	const first, second = "0000:08:00.0", "0000:09:00.0"
	for name, tt := range map[string]struct {
		sandbox, boot, bus, address string
		step                        attachment.Step
		missing                     []string
	}{
		"attached":               {"s1", "now", "pci", second, attachment.Attached, []string{first}},
		"in the middle of it":    {"s1", "now", "pci", second, attachment.Prepared, []string{first, second}},
		"back on the host":       {"s1", "now", "pci", second, attachment.Returned, []string{first, second}},
		"to another sandbox":     {"s2", "now", "pci", second, attachment.Attached, []string{first, second}},
		"another NIC":            {"s1", "now", "pci", "0000:0a:00.0", attachment.Attached, []string{first, second}},
		"one of another bus":     {"s1", "now", "auxiliary", second, attachment.Attached, []string{first, second}},
		"before the last reboot": {"s1", "before", "pci", second, attachment.Attached, []string{first, second}},
	} {
		dir := t.TempDir()
		must(t, journal(t, dir, tt.boot).Write(&attachment.Record{
			ContainerID: tt.sandbox, IfName: "rail2", Call: "eth0", Step: tt.step,
			NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}, Bus: tt.bus, Address: tt.address}, Host: netdev.State{Name: "ens11np0"},
		}))
		c := of(podUID, "c1", 0, 1)
		missing, err := c.Missing(journal(t, dir, "now"), "s1")
		must(t, err)
		var addresses []string
		for _, d := range missing {
			addresses = append(addresses, d.Address)
		}
		if !slices.Equal(addresses, tt.missing) || len(c.Devices) != 2 {
			t.Errorf("%s: %v are missing, want %v", name, addresses, tt.missing)
		}
	}
}

func TestAJournalThatCannotBeReadSaysNothingOfASandbox(t *testing.T) {
	dir := t.TempDir()
	j := journal(t, dir, "now")
	must(t, os.WriteFile(filepath.Join(dir, "attachments"), nil, 0o600)) // a file, and no folder
	if missing, err := of(podUID, "c1", 0).Missing(j, "s1"); missing != nil || err == nil || !strings.HasPrefix(err.Error(), "claim training/rails-c1: ") {
		t.Errorf("%v, %v", missing, err)
	}
}
