package selftest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	journal "github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Options say what to test, and where it is.
type Options struct {
	Node rdma.Node
	// PluginDir is the folder of the CNI plugins.
	PluginDir string
	// StateDir is the CNI plugin's state folder, Proc where proc is mounted.
	StateDir, Proc string
	// NICs are one or two, by their names on the host. Where none is named, it is
	// the first ones that the plugin takes.
	NICs []string
	// Version of this program, for the report.
	Version string
}

// MostNICs is how many one test takes.
const MostNICs = 2

// A test is one run.
type test struct {
	Options
	*report
	plugin   plugin
	host     *netdev.Namespace
	settling time.Duration // bounds the wait for the host to be as it was
}

// Run tests the plugin and writes a report as it goes. The error is ErrFailed if
// a step failed, and another one if there was nothing to test.
//
// When ctx ends the test ends, and gives back what it has.
func Run(ctx context.Context, o Options, w io.Writer) error {
	if os.Geteuid() != 0 {
		return errors.New("run the selftest as root, on the node: it makes network namespaces")
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		return err
	}
	defer host.Close()
	t := &test{Options: o, report: &report{w: w}, plugin: plugin{o.PluginDir}, host: host, settling: settling}
	version, err := t.plugin.version()
	if err != nil {
		return fmt.Errorf("ask the plugin in %s for its version: %w", o.PluginDir, err)
	}
	t.fact("selftest", "%s, of %s", o.Version, time.Now().UTC().Format(time.DateOnly))
	t.fact("kernel", "%s", kernel())
	if features, err := rdma.Features(ctx, host); err != nil {
		t.fact("has", "unknown: %v", err)
	} else {
		t.features(features)
	}
	t.fact("system", "%s", distribution())
	t.fact("RDMA mode", "%s", mode())
	t.fact("plugin", "%s, CNI %s", t.plugin.dir, version)
	if err := t.endEarlier(); err != nil {
		return err
	}
	if t.failed > 0 {
		return t.verdict()
	}
	nics, err := t.nics(ctx)
	if err != nil {
		return err
	}
	return t.all(ctx, nics)
}

func (t *test) nics(ctx context.Context) (nics []nic, err error) {
	if len(t.NICs) == 0 {
		if nics, err = t.candidates(ctx); err == nil && len(nics) == 0 {
			err = errors.New("no NIC on this node has an RDMA device; name one to test it without")
		}
		return nics, err
	}
	for _, name := range t.NICs {
		n, err := t.nicNamed(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(nics, func(other nic) bool { return other.name == n.name }) {
			return nil, fmt.Errorf("%s was named twice; name two NICs, or one", n.name)
		}
		nics = append(nics, n)
	}
	return nics, nil
}

// endEarlier ends what tests left that were killed.
func (t *test) endEarlier() error {
	j, err := journal.Open(t.StateDir, t.Proc)
	if err != nil {
		return err
	}
	records, _, err := j.List()
	if err != nil {
		return err
	}
	for _, r := range records {
		if r.Network != network {
			continue
		}
		if alive, err := journal.PodAlive(r); err != nil || alive {
			return errors.Join(err, fmt.Errorf("another selftest has %s: wait for its end", r.Host.Name))
		}
		t.step("undo an earlier test of "+r.Host.Name, func() error {
			return t.del(attachment{r.ContainerID, r.IfName, ""}, r.Config)
		})
	}
	return nil
}
