package selftest

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"
)

// all runs the whole test: each NIC alone and without an address, and then all
// of them with addresses and traffic.
func (t *test) all(ctx context.Context, nics []nic) error {
	var tested []nic
	for _, n := range nics {
		if len(tested) == MostNICs || t.failed > 0 || ctx.Err() != nil {
			break
		}
		taken, err := t.alone(ctx, n)
		if err != nil {
			return err
		}
		if taken {
			tested = append(tested, n)
		}
	}
	if len(tested) == 0 {
		return errors.New("the plugin takes none of the node's NICs; the lines above say why")
	}
	if t.failed == 0 && ctx.Err() == nil {
		if err := t.together(ctx, tested); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		t.step("the test was ended", func() error { return context.Cause(ctx) })
	}
	return t.verdict()
}

// passedOver are the codes by which the plugin says that a NIC is not free: busy,
// not allowed, held, without an RDMA device, needed by the host.
func passedOver() []uint { return []uint{11, 7, 101, 103, 112} }

// alone tests a NIC by itself. It is not taken if the plugin refuses it, and
// nobody said that it has to.
func (t *test) alone(ctx context.Context, n nic) (taken bool, err error) {
	about := n.about(t.Node, driverOf(n.name))
	p, err := t.newPod(ctx, n, netip.Prefix{})
	if err != nil {
		return false, err
	}
	defer p.end()
	begin := time.Now()
	err = t.add(p)
	took := time.Since(begin)
	if refused := (*refusal)(nil); len(t.NICs) == 0 && errors.As(err, &refused) && slices.Contains(passedOver(), refused.Code) {
		t.fact("passed over", "%s: %v", n.name, err)
		return false, nil
	}
	t.line("")
	t.fact(n.name, "%s", about)
	if t.outcome(n.name+": ADD", took, err) {
		t.inPod(p)
	}
	t.giveBack(ctx, p)
	return true, nil
}

// together tests all NICs at once, with addresses.
func (t *test) together(ctx context.Context, nics []nic) error {
	t.line("")
	if !t.plugin.has("static") {
		t.step("with addresses", func() error { return skip("there is no IPAM plugin static in " + t.plugin.dir) })
		return nil
	}
	var pods []*pod
	for i, n := range nics {
		p, err := t.newPod(ctx, n, netip.MustParsePrefix([]string{firstAddress, secondAddress}[i]))
		if err != nil {
			return err
		}
		defer p.end()
		defer t.giveBack(ctx, p)
		if t.step(n.name+": ADD with an address", func() error { return t.add(p) }) {
			t.inPod(p)
		}
		pods = append(pods, p)
	}
	if t.failed == 0 {
		t.traffic(ctx, pods)
	}
	return nil
}

func (t *test) traffic(ctx context.Context, pods []*pod) {
	if len(pods) < MostNICs {
		t.step("traffic", func() error { return skip("it takes a second free NIC, on the same network") })
		return
	}
	a, b := pods[0], pods[1]
	between := fmt.Sprintf("from %s to %s", b.nic.name, a.nic.name)
	if !t.step("packets "+between, func() error { return exchange(ctx, a, b) }) {
		return
	}
	t.step("RDMA "+between, func() error {
		if a.nic.device == nil || b.nic.device == nil {
			return skip("a NIC has no RDMA device")
		}
		return pingpong(ctx, t.Node.Dev, a, b)
	})
}
