package cni

import (
	"context"
	"fmt"
	"os"
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

func TestOfSeveralLocksNoneIsKeptIfOneCannotBeHad(t *testing.T) {
	journal, err := attachment.Open(t.TempDir(), "/proc")
	if err != nil {
		t.Fatal(err)
	}
	var wanted nicLocks
	wanted.want("pci/0000:01:00.0", "nic1")
	wanted.want("pci/0000:02:00.0", "nic2")
	held, err := journal.LockNIC(t.Context(), "pci/0000:02:00.0", "", "somebody else")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := &operation{ctx: ctx, journal: journal, args: &skel.CmdArgs{}}
	if _, err := o.lockNICs(wanted); err == nil || !strings.Contains(err.Error(), "NIC nic2 is being changed by somebody else") {
		t.Fatal(err)
	}
	free, err := journal.TryNIC("pci/0000:01:00.0", "nic1", "the next")
	if err != nil {
		t.Errorf("the first is locked still: %v", err)
	}
	free.Unlock()
}

func TestWhoWaitsForALockIsToldWhoHasIt(t *testing.T) {
	t.Setenv("CNI_COMMAND", "ADD")
	o := &operation{args: &skel.CmdArgs{ContainerID: "c1", IfName: "net1"}}
	want := fmt.Sprintf("ADD of container c1, interface net1 (process %d)", os.Getpid())
	if who := o.who(); who != want {
		t.Errorf("%s, want %s", who, want)
	}
	o.pod = podOf("IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=p=1;K8S_POD_UID=u")
	if who := o.who(); who != "pod default/p=1, "+want || o.pod.UID != "u" {
		t.Errorf("%s of %+v", who, o.pod)
	}
}
