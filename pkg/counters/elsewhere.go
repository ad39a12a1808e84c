package counters

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Readings are what only those can read who may enter the namespaces of pods, by
// the key of the NIC's RDMA device.
type Readings map[string]Reading

// A Reading is that of one NIC.
type Reading struct {
	// Counts are the RDMA device's, nil if the host's sysfs shows it.
	Counts *rdma.Counts `json:"counts,omitempty"`
	// Hardware are those statistics of the netdevs' drivers that are about
	// pauses and discards, by the host's name.
	Hardware map[string][]netdev.Counter `json:"hardware,omitempty"`
}

// An Entrant reads in the namespaces of the pods that hold NICs. Entering one
// takes SYS_ADMIN, and so an Entrant does as little as possible: it takes no
// arguments, has no names of pods, and only reads.
type Entrant struct {
	node    rdma.Node
	journal *attachment.Journal
	host    *netdev.Namespace
	log     *slog.Logger

	mu       sync.Mutex // guards what follows
	reader   *rdma.CounterReader
	patience *patience
	said     *logging.Seldom
}

// NewEntrant makes an entrant. The host's namespace must stay open.
func NewEntrant(node rdma.Node, journal *attachment.Journal, host *netdev.Namespace, log *slog.Logger) *Entrant {
	return &Entrant{node: node, journal: journal, host: host, log: log,
		reader: rdma.NewCounterReader(), patience: newPatience(), said: logging.NewSeldom(silencePause)}
}

// ServeHTTP answers AskEntrant.
func (e *Entrant) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	// Whoever hangs up does not make drivers look as if they hung.
	_ = json.NewEncoder(w).Encode(e.Read(context.WithoutCancel(r.Context())))
}

// Read reads what can be read in time.
func (e *Entrant) Read(ctx context.Context) Readings {
	e.mu.Lock()
	defer e.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, longestEntry)
	defer cancel()
	all, now := Readings{}, map[string]bool{}
	read := func(subject string, f func() (key string, r Reading, err error)) {
		type answer struct {
			key     string
			reading Reading
			err     error
		}
		now[subject] = true
		got, err := try(ctx, e.patience, subject, func() (a answer) {
			a.key, a.reading, a.err = f()
			return a
		})
		if errors.Is(err, errNoTime) {
			return
		}
		e.report(subject, cmp.Or(err, got.err))
		if got.key != "" {
			all[got.key] = got.reading
		}
	}
	for _, r := range e.attached() {
		read(r.Host.Name+" in "+r.Netns.Path, func() (string, Reading, error) { return e.readInPod(r) })
	}
	names, err := e.node.Names()
	if err != nil {
		read("the host", func() (string, Reading, error) { return "", Reading{}, err })
	}
	for _, name := range names {
		read(name, func() (string, Reading, error) { return e.readOnHost(name) })
	}
	e.said.Keep(now)
	return all
}

// report logs what cannot be read, and seldom what cannot at times.
func (e *Entrant) report(subject string, err error) {
	failure := ""
	if err != nil {
		failure = err.Error()
	}
	if e.said.News(subject, failure) {
		e.log.Warn("cannot read counters", "of", subject, "err", err)
	}
}

// attached are the records of NICs in pods. What is wrong with the others is
// reported by those who act on them.
func (e *Entrant) attached() []*attachment.Record {
	records, _, _ := e.journal.List()
	return slices.DeleteFunc(records, func(r *attachment.Record) bool {
		return !e.journal.Current(r) || r.Step != attachment.Attached || r.NIC.RDMA == nil
	})
}

// readInPod reads in the namespace of a pod, which is open for no longer than
// that: an open namespace keeps its NICs when the pod has ended. key is "" if the
// NIC is not there.
func (e *Entrant) readInPod(r *attachment.Record) (key string, reading Reading, err error) {
	ns, err := r.OpenPod()
	if ns == nil {
		return "", Reading{}, err // it is gone, or another pod's by now
	}
	defer ns.Close()
	node, closeNode, err := rdma.NodeIn(ns.NS, e.node.Dev)
	if err != nil {
		return "", Reading{}, err
	}
	defer closeNode()
	return e.readThere(node, ns, r)
}

// readThere reads the NIC of a record in a namespace, of which node is the sysfs.
func (e *Entrant) readThere(node rdma.Node, ns *netdev.Namespace, r *attachment.Record) (key string, reading Reading, err error) {
	names, err := node.Names()
	if err != nil {
		return "", Reading{}, err
	}
	for _, name := range names {
		d, err := node.Outline(name)
		if err != nil || d.Key() != r.NIC.RDMA.Key() {
			continue
		}
		if r.NIC.RDMAMoved {
			if counts, err := e.reader.Read(node, name); err == nil {
				reading.Counts = &counts
			}
		}
		if len(d.Netdevs) == 1 { // else they may be of several attachments
			reading.Hardware = map[string][]netdev.Counter{r.Host.Name: hardware(ns, d.Netdevs[0])}
		}
		return d.Key(), reading, nil
	}
	return "", Reading{}, nil
}

// readOnHost reads what the driver of a NIC on the host counts.
func (e *Entrant) readOnHost(name string) (key string, reading Reading, err error) {
	d, err := e.node.Outline(name)
	if errors.Is(err, fs.ErrNotExist) { // it has just left
		return "", Reading{}, nil
	}
	if err != nil || len(d.Netdevs) == 0 {
		return "", Reading{}, err
	}
	reading.Hardware = map[string][]netdev.Counter{}
	for _, netdev := range d.Netdevs {
		reading.Hardware[netdev] = hardware(e.host, netdev)
	}
	return d.Key(), reading, nil
}

// hardware are those statistics of a netdev's driver that tell of congestion; the
// others, of each queue, are hundreds.
func hardware(ns *netdev.Namespace, name string) []netdev.Counter {
	all, err := ns.HardwareStatistics(name)
	if err != nil {
		return nil // it has left, or its driver does not say
	}
	return slices.DeleteFunc(all, func(c netdev.Counter) bool { return !tellsOfCongestion(c.Name) })
}

// tellsOfCongestion tells whether a statistic is about pauses or discards, in the
// words of one driver or another.
func tellsOfCongestion(name string) bool {
	return slices.ContainsFunc([]string{"pause", "pfc", "discard", "_xon", "_xoff"}, func(word string) bool { return strings.Contains(name, word) })
}

// longestReadings bounds an answer, in bytes: a device is some 8 KiB.
const longestReadings = 8 << 20

// AskEntrant asks the entrant that serves a unix socket.
func AskEntrant(socket string) func(context.Context) (Readings, error) {
	return func(ctx context.Context) (Readings, error) {
		response, err := endpoint.Unix(socket).Ask(ctx, http.MethodGet, "/", nil)
		if err != nil {
			return nil, fmt.Errorf("ask the container that reads there: %w", err)
		}
		defer func() { _ = response.Body.Close() }()
		readings := Readings{}
		if err := json.NewDecoder(io.LimitReader(response.Body, longestReadings)).Decode(&readings); err != nil {
			return nil, fmt.Errorf("ask the container that reads there: %w", err)
		}
		return readings, nil
	}
}
