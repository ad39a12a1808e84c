package cni

import (
	"log/slog"
	"os"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

// Its ADD may have written it while GC waited for the attachment's lock.
func TestGCLeavesARecordThatIsThereByNow(t *testing.T) {
	n := node.New(t, sysfs.MLX5(0))
	n.Attach("", sysfs.MLX5(0))
	o := &operation{Plugin: &Plugin{Log: slog.New(slog.DiscardHandler)}, ctx: n.Ctx, args: &skel.CmdArgs{}, journal: n.Journal}
	n.Write("state/attachments/pod1@net1.json.new", "{") // it is being written anew
	n.Must(o.clear(attachment.ID{ContainerID: "pod1", IfName: "net1"}))
	if records, _, err := n.Journal.List(); len(records) != 1 || err != nil {
		t.Errorf("%v, %v", records, err)
	}
	if _, err := os.Stat(n.State() + "/attachments/pod1@net1.json.new"); err != nil {
		t.Error(err)
	}
}
