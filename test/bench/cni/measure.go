package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
	"github.com/roce-k8s/roce-k8s/test/fixtures/mounts"
)

// theGuidesNICs is how many a pod gets.
const theGuidesNICs = 8

// settle waits for what the kernel does in the background after a NIC came up:
// it holds the lock that a move needs. A move waits for ticks of the kernel's
// clock, so no two rounds begin at the same moment between them.
func settle() { time.Sleep(50*time.Millisecond + rand.N(8*time.Millisecond)) }

// results are times in ms, sizes in MB.
type results struct {
	Plain     map[string]pair // by kind of NIC: without IPAM
	HostLocal pair            // eight NICs one after another
	Slow      pair            // an IPAM plugin that takes 100 ms
	Version   [2]report.Figure
	Binary    [2]float64
	Exclusive *pair
}

// A pair is ADD and DEL of the two, ours first, with the floor under them.
type pair struct{ Add, Del, Floor [2]report.Figure }

// kinds are the NICs that a machine has without hardware.
var kinds = []string{"veth", "macvlan"}

func measureVirtual(o options, out io.Writer) error {
	n, err := newNode()
	if err != nil {
		return err
	}
	disk, err := os.MkdirTemp("", "bench-cni-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(disk)
	state, leases := filepath.Join(disk, "state"), filepath.Join(disk, "leases")
	if err := errors.Join(os.Mkdir(state, 0o755), mounts.Mount(state)); err != nil {
		return err
	}
	r := results{Plain: map[string]pair{}}
	for _, kind := range kinds {
		if err := n.addNICs(kind, theGuidesNICs); err != nil {
			return err
		}
		fmt.Fprintf(os.Stderr, "measuring ADD and DEL with %s\n", kind)
		one := *n
		one.nics = n.nics[:1]
		plain, err := o.measure(&one, virtual(nil))
		if err != nil {
			return err
		}
		if plain.Floor, err = o.floor(&one); err != nil {
			return err
		}
		r.Plain[kind] = plain
		if kind != "veth" {
			continue
		}
		if r.HostLocal, err = o.measure(n, virtual(func(nic int) map[string]any {
			return map[string]any{"type": "host-local", "dataDir": leases, "subnet": fmt.Sprintf("172.31.%d.0/24", nic+1)}
		})); err != nil {
			return err
		}
		if r.Slow, err = o.measure(&one, virtual(func(int) map[string]any { return map[string]any{"type": slowIPAM} })); err != nil {
			return err
		}
	}
	if r.Version, err = o.version(); err != nil {
		return err
	}
	for i, program := range []string{"roce-host-device", "host-device"} {
		if r.Binary[i], err = size(filepath.Join(o.Programs, program)); err != nil {
			return err
		}
	}
	if err := n.close(); err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// contender makes the configurations of ours and of theirs for a NIC.
type contender func(nic int, name string) [2]chain

// virtual is for NICs without RDMA.
func virtual(ipam func(nic int) map[string]any) contender {
	return func(nic int, name string) [2]chain {
		ours := map[string]any{"type": "roce-host-device", "device": name, "rdma": "optional"}
		theirs := map[string]any{"type": "host-device", "device": name}
		if ipam != nil {
			ours["ipam"], theirs["ipam"] = ipam(nic), ipam(nic)
		}
		return [2]chain{{ours}, {theirs}}
	}
}

// measure attaches and detaches all NICs of the node, one after another, in
// turns with ours and with theirs.
func (o options) measure(n *node, of contender) (pair, error) {
	var add, del [2][]float64
	for round := range o.Rounds {
		for turn := range 2 {
			who := (turn + round) % 2 // neither is always first
			if err := n.reset(); err != nil {
				return pair{}, err
			}
			settle()
			a, d, err := o.round(n, of, who, fmt.Sprintf("bench-%d-%d", round, who))
			if err != nil {
				return pair{}, err
			}
			add[who], del[who] = append(add[who], ms(a)), append(del[who], ms(d))
		}
	}
	p := pair{}
	for who := range 2 {
		p.Add[who], p.Del[who] = report.Of(add[who]), report.Of(del[who])
	}
	return p, nil
}

// round attaches all NICs to one pod, then detaches them.
func (o options) round(n *node, of contender, who int, id string) (add, del time.Duration, err error) {
	chains, results := make([]chain, len(n.nics)), make([]json.RawMessage, len(n.nics))
	at := func(i int) place { return place{id, n.netns, fmt.Sprintf("net%d", i+1)} }
	for i, nic := range n.nics {
		chains[i] = of(i, nic.Attrs().Name)[who]
		var took time.Duration
		if took, results[i], err = o.add(chains[i], at(i)); err != nil {
			return 0, 0, err
		}
		add += took
	}
	for i := range n.nics {
		took, err := o.del(chains[i], at(i), results[i])
		if err != nil {
			return 0, 0, err
		}
		del += took
	}
	return add, del, nil
}

// floor is a process that does nothing and a bare move: into the pod, and back.
func (o options) floor(n *node) ([2]report.Figure, error) {
	var took [2][]float64
	name := n.nics[0].Attrs().Name
	for range o.Rounds {
		if err := n.reset(); err != nil {
			return [2]report.Figure{}, err
		}
		settle()
		there, err := o.bareMove(name, func(index int) error {
			return errors.Join(move(index, n.pod, "net1"), n.moveRDMA(n.pod))
		})
		if err != nil {
			return [2]report.Figure{}, err
		}
		var back time.Duration
		if err := n.inPod(func() (err error) {
			back, err = o.bareMove("net1", func(index int) error {
				return errors.Join(n.moveRDMA(n.host), move(index, n.host, name))
			})
			return err
		}); err != nil {
			return [2]report.Figure{}, err
		}
		took[0], took[1] = append(took[0], ms(there)), append(took[1], ms(back))
	}
	return [2]report.Figure{report.Of(took[0]), report.Of(took[1])}, nil
}

func (o options) bareMove(name string, move func(index int) error) (time.Duration, error) {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := exec.Command(filepath.Join(o.Programs, "nothing")).Run(); err != nil { //nolint:gosec // does nothing
		return 0, err
	}
	if err := move(link.Attrs().Index); err != nil {
		return 0, fmt.Errorf("move %s: %w", name, err)
	}
	return time.Since(begin), nil
}

// version is what a runtime may ask before each ADD.
func (o options) version() ([2]report.Figure, error) {
	var took [2][]float64
	for range o.Rounds {
		for who, program := range []string{"roce-host-device", "host-device"} {
			t, _, err := o.call("VERSION", map[string]any{"type": program}, nil, place{})
			if err != nil {
				return [2]report.Figure{}, err
			}
			took[who] = append(took[who], ms(t))
		}
	}
	return [2]report.Figure{report.Of(took[0]), report.Of(took[1])}, nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
