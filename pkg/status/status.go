package status

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Options say whom to ask.
type Options struct {
	Name     string // of the node
	Node     rdma.Node
	StateDir string // the CNI plugin's, with the journal
	Proc     string // where proc is mounted
	// PodResources is the kubelet's socket.
	PodResources string
	// MetricsAddress and ProbeSocket are the device plugin's; the socket goes first.
	MetricsAddress, ProbeSocket string
	Log                         *slog.Logger
}

// A Status is that of a node at one time.
type Status struct {
	Node     string    `json:"node"`
	Time     time.Time `json:"time"`
	RDMAMode rdma.Mode `json:"rdmaMode,omitempty"`
	NICs     []NIC     `json:"nics"`
	// Returned are attachments whose NIC is back and whose address is not free yet.
	Returned []Return `json:"returned"`
	// Owed are NICs that are back, but not as they were.
	Owed []Return `json:"owed"`
	// Units are those that containers hold, as the kubelet says.
	Units  []Units `json:"units"`
	Plugin *Plugin `json:"plugin,omitempty"` // nil if it did not answer
	// Remarks are what does not fit together.
	Remarks []string `json:"remarks"`
	// Missing says who did not answer, and so what is not known.
	Missing []string `json:"missing"`
}

// A NIC is one of the node, wherever it is.
type NIC struct {
	Netdev  string          `json:"netdev,omitempty"` // on the host
	RDMA    string          `json:"rdmaDevice,omitempty"`
	Address string          `json:"address,omitempty"`
	Place   inventory.Place `json:"place"`
	Holder  *Holder         `json:"holder,omitempty"` // nil if there is none, or no record of it
}

// A Holder is an attachment.
type Holder struct {
	Pod       string          `json:"pod,omitempty"` // namespace/name
	Container string          `json:"container"`
	Interface string          `json:"interface"`
	Network   string          `json:"network"`
	Step      attachment.Step `json:"step"`
	Since     time.Time       `json:"since"`
}

// A Return is the end of an attachment, as far as it has come.
type Return struct {
	Netdev string    `json:"netdev"`
	Was    Holder    `json:"was"`
	Back   time.Time `json:"back,omitzero"`
	Why    string    `json:"why"`
}

// Units are those of a resource that a container holds.
type Units struct {
	Resource  string   `json:"resource"`
	Pod       string   `json:"pod"` // namespace/name
	Container string   `json:"container"`
	IDs       []string `json:"ids"`
}

// Look asks everybody. Only a journal that cannot be opened is an error.
func Look(ctx context.Context, o Options) (*Status, error) {
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Node: o.Name, Time: time.Now().UTC().Truncate(time.Second),
		NICs: []NIC{}, Returned: []Return{}, Owed: []Return{}, Units: []Units{}, Remarks: []string{}, Missing: []string{},
	}
	if s.RDMAMode, err = rdma.SystemMode(); err != nil {
		s.miss("RDMA mode", err)
	}
	if err := s.lookAtNICs(ctx, o, journal); err != nil {
		s.miss("NICs", err)
	}
	s.readJournal(journal)
	if s.Plugin, err = AskPlugin(ctx, o.MetricsAddress, o.ProbeSocket); err != nil {
		s.miss("device plugin", err)
	}
	pods, err := askKubelet(ctx, o.PodResources)
	if err != nil {
		s.miss("kubelet", err)
		return s, nil
	}
	if s.Plugin == nil {
		s.miss("units of other resources than "+usualPrefix+"…", errors.New("the device plugin did not say which are its own"))
	}
	s.Units = unitsOf(pods, s.ours())
	s.compare(pods)
	return s, nil
}

func (s *Status) miss(what string, err error) {
	s.Missing = append(s.Missing, what+": "+err.Error())
}

func (s *Status) remark(format string, args ...any) {
	s.Remarks = append(s.Remarks, fmt.Sprintf(format, args...))
}

// lookAtNICs takes a look at the node's hardware.
func (s *Status) lookAtNICs(ctx context.Context, o Options, journal *attachment.Journal) error {
	i := inventory.Options{Node: o.Node, Journal: journal, StateDir: o.StateDir, Log: o.Log}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		s.miss("host's links", err)
	} else {
		defer host.Close()
		i.Links, i.Elsewhere = host.LinkReader().Links, host.LinksElsewhere
	}
	all := inventory.New(i)
	defer all.Wait()
	seen, err := all.Read(ctx)
	if err == nil {
		s.listNICs(seen)
	}
	return err
}

// listNICs lists RDMA devices, and NICs without one that a pod has.
func (s *Status) listNICs(seen inventory.Snapshot) {
	shown := map[*attachment.Record]bool{}
	for _, d := range seen.Devices {
		n := NIC{RDMA: d.Name, Address: d.Address, Place: d.Place}
		if len(d.Netdevs) > 0 {
			n.Netdev = d.Netdevs[0]
		}
		if d.Holder != nil {
			n.Netdev, n.Holder, shown[d.Holder] = d.Holder.Host.Name, holderOf(d.Holder), true
		}
		s.NICs = append(s.NICs, n)
	}
	for _, r := range seen.Held {
		if !shown[r] {
			s.NICs = append(s.NICs, NIC{Netdev: r.Host.Name, Address: r.NIC.Address, Place: inventory.InPod, Holder: holderOf(r)})
		}
	}
	for _, r := range seen.Stranded() {
		if r.Step == attachment.Attached {
			s.remark("%s is on the host without a DEL of %s: the device plugin's rescue restores it, or the next ADD or GC", r.Host.Name, r.Holder())
		}
	}
	slices.SortStableFunc(s.NICs, func(a, b NIC) int { return rdma.ComparePCI(a.Address, b.Address) })
}

func holderOf(r *attachment.Record) *Holder {
	return &Holder{Pod: r.Pod.String(), Container: r.ContainerID, Interface: r.IfName, Network: r.Network, Step: r.Step, Since: r.Created}
}

// readJournal lists the ends of attachments.
func (s *Status) readJournal(journal *attachment.Journal) {
	records, bad, err := journal.List()
	if err != nil {
		s.miss("journal", err)
	}
	for _, b := range bad {
		s.remark("%v", b)
	}
	earlier := 0
	for _, r := range records {
		switch {
		case !journal.Current(r):
			earlier++
		case r.Step == attachment.Returned:
			s.Returned = append(s.Returned, Return{r.Host.Name, *holderOf(r), r.Back, "its address is not free yet: a DEL, a GC or the NIC's next ADD frees it"})
		}
	}
	if earlier > 0 {
		s.remark("%d records are of an earlier boot: their addresses are not free yet", earlier)
	}
	owed, err := journal.Owing()
	if err != nil {
		s.miss("what is owed", err)
	}
	for _, r := range owed {
		why := "another link has its name, or what it had cannot be set yet"
		if due := r.Due(); !due.IsZero() {
			why = fmt.Sprintf("%s has until %s to configure it; the rest is set then", r.Manager, due.UTC().Format(time.TimeOnly))
		}
		s.Owed = append(s.Owed, Return{r.Host.Name, *holderOf(r), r.Back, why})
	}
}

// compare looks for what the journal and the kubelet see differently.
func (s *Status) compare(pods []pod) {
	known := map[string]bool{}
	for _, p := range pods {
		known[p.name] = true
	}
	said := map[string]bool{}
	for _, n := range s.NICs {
		if h := n.Holder; h != nil && h.Pod != "" && !known[h.Pod] && !said[h.Pod] {
			said[h.Pod] = true
			s.remark("the kubelet knows no pod %s, which has %s: it has ended, and its DEL is to come", h.Pod, n.Netdev)
		}
	}
}
