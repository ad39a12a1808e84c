package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// losses are the counters of which a healthy rail counts none: packets lost or
// damaged, links lost, and what RoCE does after that. The names are the kernel's.
func losses() []string {
	return []string{
		"symbol_error", "link_error_recovery", "link_downed", "port_rcv_errors", "port_xmit_discards", "local_link_integrity_errors",
		"excessive_buffer_overrun_errors", "rx_icrc_encapsulated", "out_of_buffer", "out_of_sequence", "packet_seq_err",
		"local_ack_timeout_err", "rnr_nak_retry_err", "roce_adp_retrans_to",
	}
}

// A reading is what the rails had counted at one look. It is kept in a file of
// the caller's.
type reading struct {
	BootID string                       `json:"bootID"`
	Time   time.Time                    `json:"time"`
	Counts map[string]map[string]uint64 `json:"counts"` // by key of the device, and counter
}

// read reads those counters now, of rails whose RDMA device the host sees.
func (p *patient) read() *reading {
	r := &reading{Time: time.Now().UTC().Truncate(time.Second), Counts: map[string]map[string]uint64{}}
	if p.journal != nil {
		r.BootID = p.journal.BootID()
	}
	reader := rdma.NewCounterReader()
	for _, d := range p.rails {
		if !d.Visible {
			continue
		}
		counts, err := reader.Read(p.node, d.Name)
		if err != nil {
			continue // it has just left
		}
		all := [][]netdev.Counter{counts.Counters}
		for _, port := range counts.Ports {
			all = append(all, port.Counters)
		}
		sum := map[string]uint64{}
		for _, c := range slices.Concat(all...) {
			if slices.Contains(losses(), c.Name) {
				sum[c.Name] += c.Value
			}
		}
		r.Counts[d.Key()] = sum
	}
	return r
}

// counters compares with the reading before. A driver that was loaded anew counts
// from 0, and so does a boot.
func counters(p *patient) (found []symptom, err error) {
	if p.Counters == "" {
		return nil, errors.New("no file for the readings was given (--counters)")
	}
	b, err := os.ReadFile(p.Counters)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("there is no earlier reading; the next run has one")
	}
	var before reading
	if err == nil {
		err = json.Unmarshal(b, &before)
	}
	if err != nil {
		return nil, fmt.Errorf("read the reading before: %w", err)
	}
	if before.BootID != p.reading.BootID {
		return nil, errors.New("the earlier reading is of another boot; the next run has one of this")
	}
	for _, d := range p.rails {
		was, now := before.Counts[d.Key()], p.reading.Counts[d.Key()]
		for _, name := range losses() {
			old, ok := was[name]
			if value := now[name]; ok && value > old {
				found = append(found, symptom{where: nameOf(d), what: fmt.Sprintf("%s grew by %d since %s", name, value-old, before.Time.Format(time.DateTime))})
			}
		}
	}
	return found, nil
}

// WriteCounters keeps the report's reading for the next one.
func (r *Report) WriteCounters(path string) error {
	b, err := json.Marshal(r.reading)
	if err == nil {
		err = replace(path, b)
	}
	if err != nil {
		return fmt.Errorf("keep the reading of the counters: %w", err)
	}
	return nil
}
