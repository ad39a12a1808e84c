package deviceplugin

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestTheRescueAloneNeedsNoDevicesAndNoConfiguration(t *testing.T) {
	n := newTestNode(t)
	n.Must(n.RemoveDevices())
	host := node.NewHost(t)
	n.Must(n.Journal.Write(strandedRecord(node.AddNIC(t, host, "net1"), attachment.Attached)))
	second := strandedRecord(node.AddNIC(t, host, "net2"), attachment.Attached)
	second.ContainerID, second.Host.Name = "pod2", "ens13np0"
	ctx, cancel := context.WithCancel(n.Ctx)
	go func() {
		defer cancel()
		rescued := func(count int) bool {
			for n.Ctx.Err() == nil && strings.Count(n.Logs.String(), "rescued a NIC") < count {
				time.Sleep(5 * time.Millisecond)
			}
			return n.Ctx.Err() == nil
		}
		if rescued(1) { // what comes later is seen by its record
			if err := n.Journal.Write(second); err != nil {
				t.Error(err)
			}
			rescued(2)
		}
	}()
	n.Must(Rescue(ctx, n.options())) // here: only this thread is in the namespace
	for _, name := range []string{"ens12np0", "ens13np0"} {
		if link, err := host.LinkNamed(name); err != nil || link == nil {
			t.Errorf("there is no %s (%v)\n%s", name, err, n.Logs)
		}
	}
}
