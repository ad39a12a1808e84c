package discovery

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// An InputError says that something of the caller's cannot be used: there is no
// point in trying again without changing it.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

// ReadNodes reads what `discover -o json` printed on several nodes. A file may have
// that of more than one.
func ReadNodes(files []string) (nodes []*Node, err error) {
	if len(files) == 0 {
		return nil, &InputError{errors.New("usage: discover merge FILE…, each what `discover -o json` printed on a node")}
	}
	for _, file := range files {
		f, err := os.Open(file)
		if err != nil {
			return nil, &InputError{err}
		}
		found, err := decodeNodes(f)
		_ = f.Close()
		if err != nil {
			return nil, &InputError{fmt.Errorf("%s: %w", file, err)}
		}
		nodes = append(nodes, found...)
	}
	for i, n := range nodes {
		if slices.ContainsFunc(nodes[:i], func(before *Node) bool { return before.Name == n.Name }) {
			return nil, &InputError{fmt.Errorf("node %s is there twice", n.Name)}
		}
	}
	return nodes, nil
}

func decodeNodes(r io.Reader) (nodes []*Node, err error) {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	for {
		n := &Node{}
		switch err := d.Decode(n); {
		case errors.Is(err, io.EOF) && len(nodes) > 0:
			return nodes, nil
		case errors.Is(err, io.EOF):
			return nil, errors.New("it is empty")
		case err != nil:
			return nil, fmt.Errorf("it is not what `discover -o json` printed: %w", err)
		case n.Version != nodeVersion || n.Name == "":
			return nil, fmt.Errorf("version %d of node %q: this program reads version %d of a node with a name", n.Version, n.Name, nodeVersion)
		}
		nodes = append(nodes, n)
	}
}

// A Fleet is what holds for all of some nodes.
type Fleet struct {
	Nodes       []*Node  `json:"nodes"`
	Differences []string `json:"differences"`
	rails       []track
}

// A track is one rail on all nodes: nil for a node that lacks it.
type track []*Rail

// Merge finds what nodes have in common. Rails with one PCI address are the same
// rail; on a node of another model, which has none of these addresses, position is
// what they have in common.
func Merge(nodes []*Node) *Fleet {
	f := &Fleet{Nodes: nodes, Differences: []string{}}
	most := slices.MaxFunc(nodes, func(a, b *Node) int { return cmp.Compare(len(a.Rails), len(b.Rails)) })
	byAddress := map[string]track{}
	add := func(address string, node int, r *Rail) {
		if byAddress[address] == nil {
			byAddress[address] = make(track, len(nodes))
		}
		byAddress[address][node] = r
	}
	has := func(address string) bool {
		return slices.ContainsFunc(most.Rails, func(r Rail) bool { return r.Address == address })
	}
	for i, n := range nodes {
		alike := slices.ContainsFunc(n.Rails, func(r Rail) bool { return has(r.Address) })
		for at := range n.Rails {
			address := n.Rails[at].Address
			if !alike {
				address = most.Rails[at].Address
			}
			add(address, i, &n.Rails[at])
		}
	}
	var addresses []string
	for address := range byAddress {
		addresses = append(addresses, address)
	}
	slices.SortFunc(addresses, rdma.ComparePCI)
	for _, address := range addresses {
		f.rails = append(f.rails, byAddress[address])
	}
	f.compare()
	return f
}

// first is the rail on the first node that has it.
func (t track) first() *Rail {
	return t[slices.IndexFunc(t, func(r *Rail) bool { return r != nil })]
}

// each lists what the nodes that have the rail say, without repetitions.
func each[T comparable](t track, say func(*Rail) T) (said []T) {
	for _, r := range t {
		if r != nil && !slices.Contains(said, say(r)) {
			said = append(said, say(r))
		}
	}
	return said
}

// selector is the key of a network, and its value, that means the rail on each node:
// a name that all have, or else the address.
func (t track) selector() (key, value string, common bool) {
	for _, name := range t.first().names() {
		if !slices.ContainsFunc(t, func(r *Rail) bool { return r != nil && !slices.Contains(r.names(), name) }) {
			return "device", name, true
		}
	}
	if addresses := each(t, func(r *Rail) string { return r.Address }); len(addresses) == 1 && rdma.IsPCIAddress(addresses[0]) {
		return "pciBusID", addresses[0], true
	}
	return "device", t.first().Netdev, false
}

// netdevs are the names of all rails on all nodes, for the selectors of a resource.
func (f *Fleet) netdevs() (names []string) {
	for _, t := range f.rails {
		for _, name := range each(t, func(r *Rail) string { return r.Netdev }) {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// mode is the RDMA mode of all nodes, "" if they differ or it is not known.
func (f *Fleet) mode() rdma.Mode {
	for _, n := range f.Nodes {
		if n.RDMAMode != f.Nodes[0].RDMAMode {
			return ""
		}
	}
	return f.Nodes[0].RDMAMode
}

// gpus is the resource of which every node has some, and how many each has.
func (f *Fleet) gpus() (resource string, number int) {
	for i, n := range f.Nodes {
		count := map[string]int{}
		for _, g := range n.GPUs {
			count[g.Resource]++
		}
		if i == 0 {
			for name, has := range count {
				if has > number || has == number && name < resource {
					resource, number = name, has
				}
			}
		}
		number = min(number, count[resource])
	}
	return resource, number
}

// compare notes where nodes differ, and rails of one node that should not.
func (f *Fleet) compare() {
	var notes railNotes
	mtus := map[int]bool{}
	for number, t := range f.rails {
		for i, n := range f.Nodes {
			if t[i] == nil {
				notes.add(number, "%s lacks %s, and numbers those after it lower", n.Name, t.first())
			} else if t[i].NoLink {
				notes.add(number, "%s on %s has no link", t[i], n.Name)
			}
		}
		names := each(t, func(r *Rail) string { return r.Netdev })
		switch key, value, common := t.selector(); {
		case !common:
			notes.add(number, "%s; no name means it on all of them, so give the NICs one in common, as an alternative name", f.by(t, func(r *Rail) string { return r.String() }))
		case len(names) > 1:
			notes.add(number, "%s; the network has %s %s", f.by(t, func(r *Rail) string { return r.Netdev }), key, value)
		}
		if len(each(t, func(r *Rail) int { return r.MTU })) > 1 {
			notes.add(number, "%s", f.by(t, func(r *Rail) string { return fmt.Sprintf("MTU %d", r.MTU) }))
		}
		mtus[t.first().MTU] = true
	}
	for _, n := range notes {
		f.note("%s", n)
	}
	if len(mtus) > 1 {
		f.note("not all rails have the same MTU")
	}
	f.differ("RDMA mode", func(n *Node) string { return cmp.Or(string(n.RDMAMode), "unknown") })
	f.differ("number of GPUs", func(n *Node) string { return fmt.Sprint(len(n.GPUs)) })
	for _, n := range f.Nodes {
		if n.Blind != "" {
			f.note("%s: NICs that the host needs are not left out, because its links cannot be seen: %s", n.Name, n.Blind)
		}
	}
}

// A railNote is what is to be said of some rails.
type railNote struct {
	rails []string
	text  string
}

func (n railNote) String() string {
	rails := "rail "
	if len(n.rails) > 1 {
		rails = "rails "
	}
	return rails + strings.Join(n.rails, ", ") + ": " + n.text
}

// railNotes say the same of several rails once.
type railNotes []railNote

func (all *railNotes) add(rail int, format string, args ...any) {
	text, number := fmt.Sprintf(format, args...), strconv.Itoa(rail)
	at := slices.IndexFunc(*all, func(n railNote) bool { return n.text == text })
	if at < 0 {
		*all = append(*all, railNote{[]string{number}, text})
		return
	}
	(*all)[at].rails = append((*all)[at].rails, number)
}

func (f *Fleet) note(format string, args ...any) {
	f.Differences = append(f.Differences, fmt.Sprintf(format, args...))
}

// by groups nodes by what they say of a rail: "ens12np0 on a, b; eth2 on c".
func (f *Fleet) by(t track, say func(*Rail) string) string {
	return f.group(func(i int) (string, bool) {
		if t[i] == nil {
			return "", false
		}
		return say(t[i]), true
	})
}

// differ notes of what kind nodes are, unless all are of one.
func (f *Fleet) differ(what string, say func(*Node) string) {
	first := say(f.Nodes[0])
	if slices.ContainsFunc(f.Nodes, func(n *Node) bool { return say(n) != first }) {
		f.note("%s: %s", what, f.group(func(i int) (string, bool) { return say(f.Nodes[i]), true }))
	}
}

func (f *Fleet) group(say func(node int) (string, bool)) string {
	var order []string
	nodes := map[string][]string{}
	for i, n := range f.Nodes {
		said, ok := say(i)
		if !ok {
			continue
		}
		if nodes[said] == nil {
			order = append(order, said)
		}
		nodes[said] = append(nodes[said], n.Name)
	}
	for i, said := range order {
		order[i] = said + " on " + strings.Join(nodes[said], ", ")
	}
	return strings.Join(order, "; ")
}
