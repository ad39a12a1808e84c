package cni

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// Two calls for some of the same NICs would wait for each other otherwise, each for
// what the other has.
func TestTheLocksOfSeveralNICsAreTakenInOneOrder(t *testing.T) {
	journal, err := attachment.Open(t.TempDir(), "/proc")
	if err != nil {
		t.Fatal(err)
	}
	var wanted nicLocks
	for i := range 8 {
		key := fmt.Sprintf("pci/0000:0%d:00.0", i)
		wanted.want(key, fmt.Sprint("nic", i))
		lock, err := journal.LockNIC(t.Context(), key, "", "somebody else")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(lock.Unlock)
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		o := &operation{ctx: ctx, journal: journal, args: &skel.CmdArgs{}}
		_, err := o.lockNICs(wanted)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "NIC nic0 is being changed by somebody else") {
			t.Errorf("%v, want a wait for the first by its key", err)
		}
	}
}
