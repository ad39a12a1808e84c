package cni_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// The containers of a node share a few locks.
func TestOneGCEndsAttachmentsOfContainersThatShareALock(t *testing.T) {
	r := newRig(t, 2)
	before, first, second := hostState(t), r.pod(), r.pod()
	j, err := attachment.Open(r.stateDir, "/proc")
	must(t, err)
	first.id = "first"
	lock, err := j.LockContainer(t.Context(), first.id, "a test")
	must(t, err)
	for n := 0; ; n++ { // until one has the same
		second.id = fmt.Sprint("second-", n)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Millisecond)
		its, err := j.LockContainer(ctx, second.id, "a test")
		if cancel(); err != nil {
			break
		}
		its.Unlock()
	}
	lock.Unlock()
	config := r.config(rails[1], map[string]any{"name": "net"})
	first.add("net1", r.config(rails[0], map[string]any{"name": "net"}))
	second.add("net1", config)
	r.gc(config)
	r.expectHost(before)
	r.expectClean()
}
