package claim_test

import (
	"os"
	"path/filepath"
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
	for name, tt := range map[string]struct {
		sandbox, boot, address string
		step                   attachment.Step
		missing                int
	}{
		"attached":               {"s1", "now", "0000:09:00.0", attachment.Attached, 1},
		"in the middle of it":    {"s1", "now", "0000:09:00.0", attachment.Prepared, 2},
		"back on the host":       {"s1", "now", "0000:09:00.0", attachment.Returned, 2},
		"to another sandbox":     {"s2", "now", "0000:09:00.0", attachment.Attached, 2},
		"another NIC":            {"s1", "now", "0000:0a:00.0", attachment.Attached, 2},
		"before the last reboot": {"s1", "before", "0000:09:00.0", attachment.Attached, 2},
	} {
		dir := t.TempDir()
		must(t, journal(t, dir, tt.boot).Write(&attachment.Record{
			ContainerID: tt.sandbox, IfName: "rail2", Call: "eth0", Step: tt.step,
			NIC: attachment.NIC{Netdev: netdev.Identity{Index: 7}, Bus: "pci", Address: tt.address}, Host: netdev.State{Name: "ens11np0"},
		}))
		if missing, err := of(podUID, "c1", 0, 1).Missing(journal(t, dir, "now"), "s1"); len(missing) != tt.missing || err != nil {
			t.Errorf("%s: %v, %v", name, missing, err)
		}
	}
}
