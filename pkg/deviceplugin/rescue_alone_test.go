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
	ctx, cancel := context.WithCancel(n.Ctx)
	go func() {
		defer cancel()
		for n.Ctx.Err() == nil && !strings.Contains(n.Logs.String(), "rescued a NIC") {
			time.Sleep(5 * time.Millisecond)
		}
	}()
	n.Must(Rescue(ctx, n.options())) // here: only this thread is in the namespace
	if link, err := host.LinkNamed("ens12np0"); err != nil || link == nil {
		t.Errorf("there is no ens12np0 (%v)\n%s", err, n.Logs)
	}
}
