package doctor

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A patient is the node, as the checks see it.
type patient struct {
	Options
	ctx  context.Context
	node rdma.Node

	journal    *attachment.Journal // nil with journalErr
	journalErr error
	seen       inventory.Snapshot
	rails      []inventory.Device
	gpus       []string // PCI addresses
	networks   []network
	reading    *reading
}

func newPatient(ctx context.Context, o Options) (*patient, error) {
	p := &patient{Options: o, ctx: ctx, node: rdma.Node{Sys: o.Roots.Sys, Dev: o.Roots.Dev}}
	if err := p.look(); err != nil {
		return nil, err
	}
	if err := p.chooseRails(); err != nil {
		return nil, err
	}
	p.gpus = p.findGPUs()
	if p.Counters != "" {
		p.reading = p.read()
	}
	var err error
	p.networks, err = readNetworks(o.Networks)
	return p, err
}

// look reads the devices: without the journal those on the host only.
func (p *patient) look() error {
	p.journal, p.journalErr = attachment.Open(p.StateDir, p.Roots.Proc)
	if p.journalErr != nil {
		devices, err := p.node.Devices()
		for _, d := range devices {
			p.seen.Devices = append(p.seen.Devices, inventory.Device{Device: d, Place: inventory.OnHost, Visible: true})
		}
		return err
	}
	i := inventory.New(inventory.Options{
		Node: p.node, Journal: p.journal, StateDir: p.StateDir, Links: p.Links, Elsewhere: p.Elsewhere,
		Log: slog.New(slog.DiscardHandler), // the checks say what it would
	})
	var err error
	p.seen, err = i.Read(p.ctx)
	return err
}

// memlock asks how the memlock plugin is. Without anybody to ask there is none.
func (p *patient) memlock() (Memlock, error) {
	if p.Memlock == nil {
		return Memlock{}, nil
	}
	return p.Memlock(p.ctx)
}

func (p *patient) chooseRails() error {
	if len(p.NICs) == 0 {
		if p.Choose != nil {
			p.rails = p.Choose(p.seen.Devices)
			return nil
		}
		for _, d := range p.seen.Devices {
			if d.IsRoCE() {
				p.rails = append(p.rails, d)
			}
		}
		return nil
	}
	for _, name := range p.NICs {
		at := slices.IndexFunc(p.seen.Devices, func(d inventory.Device) bool {
			return d.Name == name || slices.Contains(d.Netdevs, name) || slices.Contains(d.AltNames, name)
		})
		if at < 0 {
			return fmt.Errorf("no RDMA device is on %s, or is called so; see `rdma link`", name)
		}
		p.rails = append(p.rails, p.seen.Devices[at])
	}
	return nil
}

// nameOf is what people call a rail.
func nameOf(d inventory.Device) string {
	if len(d.Netdevs) > 0 {
		return d.Netdevs[0]
	}
	return d.Name
}

// onHost are the rails whose netdev is on the host. One in a pod is as its
// network says.
func (p *patient) onHost() (rails []inventory.Device) {
	for _, d := range p.rails {
		if d.Place == inventory.OnHost && d.Visible && len(d.Netdevs) > 0 {
			rails = append(rails, d)
		}
	}
	return rails
}

// functions are the PCI addresses of the rails, by their names: hardware can be
// seen wherever the netdev is.
func (p *patient) functions() (addresses, names []string) {
	for _, d := range p.rails {
		address := p.node.PhysicalFunctionOf(d.Device)
		if address != "" && d.Place != inventory.Gone && !slices.Contains(addresses, address) {
			addresses, names = append(addresses, address), append(names, nameOf(d))
		}
	}
	return addresses, names
}

// sys reads a file of sysfs, "" if it is not there.
func (p *patient) sys(path ...string) string {
	s, _ := kernelfile.Read(filepath.Join(append([]string{p.Roots.Sys}, path...)...))
	return s
}

func (p *patient) number(path ...string) (int, bool) {
	n, err := strconv.Atoi(p.sys(path...))
	return n, err == nil
}

// hasModule tells whether a module is loaded, or built in with parameters.
func (p *patient) hasModule(name string) bool {
	_, err := os.Stat(filepath.Join(p.Roots.Sys, "module", name))
	return err == nil
}

// numaNodes is how many there are.
func (p *patient) numaNodes() int {
	nodes, _ := filepath.Glob(filepath.Join(p.Roots.Sys, "devices/system/node/node[0-9]*"))
	return len(nodes)
}

// oddOnes calls f for those whose value is not the one that most of them have.
func oddOnes(values []string, f func(i int, usual string)) {
	count := map[string]int{}
	for _, v := range values {
		count[v]++
	}
	usual := ""
	for _, v := range values {
		if count[v] > count[usual] {
			usual = v
		}
	}
	for i, v := range values {
		if v != usual {
			f(i, usual)
		}
	}
}

// list is a list in words.
func list(words []string) string { return strings.Join(words, ", ") }
