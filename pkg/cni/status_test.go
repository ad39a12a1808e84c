package cni

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestSTATUSTellsANICThatIsInAPodFromOneWhoseHardwareIsGone(t *testing.T) {
	h := sysfs.MLX5(0)
	n := node.New(t, h)
	n.Attach(rdma.Shared, h)
	c, err := parseConfig([]byte(`{"cniVersion": "1.1.0", "name": "n", "device": "` + h.Netdev + `"}`))
	n.Must(err)
	o := &operation{
		Plugin: &Plugin{Node: n.RDMA(), Log: slog.New(slog.DiscardHandler)}, ctx: n.Ctx, args: &skel.CmdArgs{}, config: c, journal: n.Journal, host: node.NewHost(t),
	}
	n.Must(o.statusNIC())
	n.Must(n.Unplug(h))
	if err := o.statusNIC(); err == nil || !strings.Contains(err.Error(), "its hardware is gone; held by pod default/gpu-rdma-pod-1") {
		t.Errorf("%v", err)
	}
}
