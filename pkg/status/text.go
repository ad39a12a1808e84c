package status

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// JSON writes the status for programs.
func (s *Status) JSON(w io.Writer) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// Text writes it for people: what is missing first, then tables. A table without
// rows is left out.
func (s *Status) Text(w io.Writer) error {
	b := &strings.Builder{}
	fmt.Fprintf(b, "Node %s at %s, RDMA mode %s\n", s.Node, s.Time.Format(time.RFC3339), cmp.Or(string(s.RDMAMode), "unknown"))
	if p := s.Plugin; p != nil {
		fmt.Fprintf(b, "Device plugin %s: %s; rescues since its start: %d, failed: %d; mistakes in its configuration: %d\n",
			p.Version, cmp.Or(terminal.Plain(p.NotReady), "ready"), p.Rescues.OK, p.Rescues.Failed, p.Mistakes+p.Clashes)
		if m := p.Memlock; m != nil {
			connected := "connected"
			if !m.Connected {
				connected = "not connected: containers have the runtime's own limit"
			}
			fmt.Fprintf(b, "Memlock plugin: %s; limits raised since its start: %d, left as they were: %d\n", connected, m.Raised, m.Kept)
		}
	}
	lines(b, "Missing", s.Missing)
	lines(b, "Look at", s.Remarks)

	rows := [][]string{{"NIC", "RDMA", "ADDRESS", "WHERE", "HOLDER", "NETWORK", "SINCE"}}
	for _, n := range s.NICs {
		row := []string{n.Netdev, n.RDMA, n.Address, string(n.Place), "", "", ""}
		if h := n.Holder; h != nil {
			row[4], row[5], row[6] = h.String(), h.Network, s.ago(h.Since)
		}
		rows = append(rows, row)
	}
	table(b, rows)

	rows = [][]string{{"CAME BACK", "WAS", "BACK", "TO BE DONE"}}
	for _, r := range append(s.Returned[:len(s.Returned):len(s.Returned)], s.Owed...) {
		rows = append(rows, []string{r.Netdev, r.Was.String(), s.ago(r.Back), r.Why})
	}
	table(b, rows)

	rows = [][]string{{"UNITS OF", "HOLDER", "HOW MANY", "WHICH"}}
	for _, u := range s.Units {
		rows = append(rows, []string{u.Resource, u.Pod + " " + u.Container, fmt.Sprint(len(u.IDs)), strings.Join(u.IDs, " ")})
	}
	table(b, rows)

	if s.Plugin != nil {
		rows = [][]string{{"RESOURCE", "DEVICES ON HOST", "IN PODS", "GONE", "HEALTHY UNITS", "UNHEALTHY", "ALLOCATIONS", "FAILED", "KUBELET"}}
		for _, r := range s.Plugin.Resources {
			row := []string{r.Name}
			for _, n := range []int{r.Devices["host"], r.Devices["pod"], r.Devices["gone"], r.Units["Healthy"], r.Units["Unhealthy"], r.Allocations["ok"], r.Allocations["error"]} {
				row = append(row, fmt.Sprint(n))
			}
			connected := "listens"
			if !r.Connected {
				connected = "does not listen"
			}
			rows = append(rows, append(row, connected))
		}
		table(b, rows)
		lines(b, "Degraded", s.Plugin.Degraded)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// String is short: the container's ID as crictl prints it.
func (h Holder) String() string {
	container := h.Container[:min(len(h.Container), 13)]
	text := fmt.Sprintf("%s (%s in %s)", h.Pod, h.Interface, container)
	if h.Step == "prepared" {
		text += ", under way"
	}
	return strings.TrimSpace(text)
}

// ago is a time with how long it was before the status.
func (s *Status) ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return fmt.Sprintf("%s (%s ago)", t.UTC().Format(time.RFC3339), s.Time.Sub(t).Truncate(time.Second))
}

// lines writes a list, if there is anything in it.
func lines(b *strings.Builder, title string, list []string) {
	if len(list) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s:\n", title)
	for _, line := range list {
		fmt.Fprintf(b, "  %s\n", terminal.Plain(line))
	}
}

// table writes rows below a header.
func table(b *strings.Builder, rows [][]string) {
	if len(rows) == 1 {
		return
	}
	for _, row := range rows {
		for n, cell := range row {
			row[n] = cmp.Or(cell, "-")
		}
	}
	b.WriteString("\n")
	_ = terminal.Table(b, rows) // a strings.Builder takes all
}
