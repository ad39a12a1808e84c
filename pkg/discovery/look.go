package discovery

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/guard"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Place says where to look.
type Place struct {
	Name     string // of the node
	Node     rdma.Node
	StateDir string // the CNI plugin's, with the journal
	Proc     string // where proc is mounted
	Log      *slog.Logger
}

// Look looks at the node. A NIC that a pod has is a rail like the others.
func Look(ctx context.Context, p Place) (*Node, error) {
	journal, err := attachment.Open(p.StateDir, p.Proc)
	if err != nil {
		return nil, err
	}
	found := &Node{Version: nodeVersion, Name: p.Name}
	subsystem, rdmaErr := rdma.Open(netns.None())
	if rdmaErr == nil {
		defer subsystem.Close()
		found.RDMAMode, _ = subsystem.Mode() // "" is printed as unknown
	}
	o := inventory.Options{Node: p.Node, Journal: journal, StateDir: p.StateDir, Log: p.Log}
	var needed needed
	if host, err := netdev.CurrentNamespace(); err != nil {
		found.Blind = err.Error()
	} else {
		defer host.Close()
		o.Links, o.Elsewhere = host.LinkReader().Links, host.LinksElsewhere
		g := guard.Guard{Host: host, Node: p.Node, Proc: p.Proc, RDMA: func() (*rdma.Namespace, error) { return subsystem, rdmaErr }}
		needed = func(link netlink.Link, device rdma.Device) (string, error) { return g.Any(ctx, link, device) }
	}
	i := inventory.New(o)
	defer i.Wait()
	seen, err := i.Read(ctx)
	if err != nil {
		return nil, err
	}
	found.Rails, found.LeftOut = describe(p.Node, seen, needed)
	if found.GPUs, err = gpus(p.Node); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list GPUs: %w", err)
	}
	pair(found.Rails, found.GPUs)
	return found, nil
}
