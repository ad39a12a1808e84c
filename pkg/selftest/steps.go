package selftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	journal "github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

const (
	// settling is how long a manager of networks may take, who may have his own part
	// in the host being as it was.
	settling = 30 * time.Second
	// tries is how often a DEL is tried, a second apart, as runtimes do.
	tries = 3
)

func (t *test) add(p *pod) error {
	result, err := t.plugin.call("ADD", p.attachment, p.config)
	p.config.PrevResult = result
	return err
}

// inPod checks what the pod has after an ADD.
func (t *test) inPod(p *pod) {
	t.step(p.nic.name+": in the pod", func() error { return t.netdevIn(p) })
	if p.nic.device != nil {
		t.step(p.nic.name+": RDMA in the pod", func() error { return t.rdmaIn(p) })
	}
	t.step(p.nic.name+": CHECK", func() error {
		_, err := t.plugin.call("CHECK", p.attachment, p.config)
		return err
	})
}

func (t *test) netdevIn(p *pod) error {
	link, err := p.ns.LinkNamed(ifName)
	if err != nil {
		return err
	}
	if link == nil || link.Attrs().Flags&net.FlagUp == 0 {
		return fmt.Errorf("the pod has no %s that is up", ifName)
	}
	still, err := t.host.LinkNamed(p.nic.name)
	if err == nil && still != nil {
		err = fmt.Errorf("the host has a %s", p.nic.name)
	}
	return err
}

// rdmaIn checks that the pod has the RDMA device, alone in exclusive mode, and a
// GID of its address.
func (t *test) rdmaIn(p *pod) error {
	host, err := rdma.Open(t.host.NS)
	if err != nil {
		return err
	}
	defer host.Close()
	mode, err := host.Mode()
	if err != nil {
		return err
	}
	if _, err := p.rdma(); err != nil {
		return err
	}
	_, still, err := host.Find(*p.nic.device)
	if err == nil && still && mode == rdma.Exclusive {
		err = fmt.Errorf("the host has RDMA device %s as well", p.nic.device.Name)
	}
	if err == nil && p.address.IsValid() {
		_, _, err = p.gid(t.Node.Dev)
	}
	return err
}

// giveBack ends an attachment, however far it came, and checks that nothing is
// left of it. It does so when somebody wants the test to end, too.
func (t *test) giveBack(ctx context.Context, p *pod) {
	ctx = context.WithoutCancel(ctx)
	t.step(p.nic.name+": DEL", func() error { return t.del(p.attachment, p.config) })
	t.step(p.nic.name+": on the host as it was", func() error {
		ctx, cancel := context.WithTimeout(ctx, t.settling)
		defer cancel()
		var different error
		err := retry.Until(ctx, time.Millisecond, time.Second, func() (bool, error) {
			now, err := t.look(ctx, p.nic)
			different = p.before.differences(now)
			return different == nil, err
		})
		if errors.Is(err, context.DeadlineExceeded) {
			return different
		}
		return err
	})
}

// del ends an attachment, and checks that the journal has nothing of it any more.
func (t *test) del(a attachment, config any) (err error) {
	for try := range tries {
		if try > 0 {
			time.Sleep(time.Second)
		}
		if _, err = t.plugin.call("DEL", a, config); err == nil {
			return t.closed(a)
		}
	}
	return fmt.Errorf("%w; the device plugin's rescue, or the next selftest, tries again", err)
}

func (t *test) closed(a attachment) error {
	j, err := journal.Open(t.StateDir, t.Proc)
	if err != nil {
		return err
	}
	r, _, err := j.Read(journal.ID{ContainerID: a.container, IfName: a.ifName})
	if err == nil && r != nil {
		err = errors.New("the journal still has the attachment")
	}
	return err
}
