package doctor

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/suggest"
	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// Roots are where the host's folders are: /sys, /dev, /proc, /etc, /run and
// /usr/lib.
type Roots struct{ Sys, Dev, Proc, Etc, Run, Lib string }

// Options say what to look at, and where it is.
type Options struct {
	Roots Roots
	// StateDir is the CNI plugin's, with the journal; PluginDir the folder of CNI
	// plugins.
	StateDir, PluginDir string
	// KubeletConfig is the kubelet's configuration file, or its configz.
	KubeletConfig string
	// Networks are NetworkAttachmentDefinitions, JSON or YAML, one or a list or
	// several documents; nil for none.
	Networks io.Reader
	// NICs are the rails to look at, by netdev or RDMA device. Where none is
	// named, Choose chooses; nil: all RoCE devices of the node.
	NICs   []string
	Choose func([]inventory.Device) []inventory.Device
	// Together: a pod gets all rails or none, so that the kubelet's Topology
	// Manager has no say.
	Together bool
	// Counters is the file with the reading of the run before, "" for none.
	Counters string
	// Ignore are checks to leave out.
	Ignore []string
	// Version is that of this program.
	Version string

	// Links and Elsewhere are as in inventory.Options; DCB asks the driver of a
	// netdev; PluginVersion asks a CNI plugin; Memlock asks how the plugin of the
	// container runtime is that raises memlock limits. Each is nil where there is
	// nobody to ask.
	Links, Elsewhere func(context.Context) ([]netlink.Link, error)
	DCB              func(netdev string) (*netdev.DCB, error)
	PluginVersion    func(ctx context.Context, path string) (string, error)
	Memlock          func(context.Context) (Memlock, error)
}

// A Memlock is how that plugin is: whether there shall be one, and whether the
// runtime asks it.
type Memlock struct{ Wanted, Connected bool }

// Examine looks at the node. An error means that there is nothing to report:
// what was asked for makes no sense.
func Examine(ctx context.Context, o Options) (*Report, error) {
	all := checks()
	if err := known(all, o.Ignore); err != nil {
		return nil, err
	}
	p, err := newPatient(ctx, o)
	if err != nil {
		return nil, err
	}
	r := &Report{Schema: Schema, Program: o.Version, Rails: []string{}, Findings: []Finding{}, Unseen: []Unseen{}, reading: p.reading}
	for _, d := range p.rails {
		r.Rails = append(r.Rails, nameOf(d))
	}
	if mode, err := p.mode(); err == nil {
		r.Mode = string(mode)
	}
	for _, c := range all {
		if slices.Contains(o.Ignore, c.id) {
			continue
		}
		symptoms, err := c.find(p)
		if err != nil {
			r.Unseen = append(r.Unseen, Unseen{c.id, err.Error()})
		}
		for _, s := range symptoms {
			about := terminal.Word(cmp.Or(s.about, s.where))
			r.Findings = append(r.Findings, Finding{
				Check: c.id, Severity: c.severity, Where: s.where, What: s.what, Cost: c.cost,
				Remedy: strings.ReplaceAll(c.remedy, "{}", about), template: c.remedy, about: about,
			})
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return rank(a.Severity) - rank(b.Severity) })
	r.Verdict = verdict(r.Findings)
	return r, nil
}

// known refuses names of checks that there are not.
func known(all []check, names []string) error {
	var ids []string
	for _, c := range all {
		ids = append(ids, c.id)
	}
	for _, name := range names {
		if slices.Contains(ids, name) {
			continue
		}
		if near, ok := suggest.Nearest(name, ids); ok {
			return fmt.Errorf("there is no check %q; did you mean %q?", name, near)
		}
		return fmt.Errorf("there is no check %q; use %s", name, strings.Join(ids, ", "))
	}
	return nil
}
