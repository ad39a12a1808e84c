package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// shownRail is the rail whose ib_read_lat is printed as a whole: the guide
// uses pod 1's address on it, 172.31.6.1.
const shownRail = 6

// traffic runs the tests from pod 2 to pod 1, on one rail after the other.
// In parallel they are no faster, because each of them keeps a processor busy.
func (s *story) traffic(ctx context.Context) error {
	s.say("Under software emulation this shows function, not speed: the numbers mean nothing for a real NIC.")
	server, client := s.pods[0], s.pods[1]
	if !server.running() || !client.running() {
		return errors.New("there are not two pods")
	}
	ends := [2][]endpoint{}
	for i, p := range []*pod{server, client} {
		var err error
		if ends[i], err = p.endpoints(ctx); err != nil {
			return err
		}
	}
	tests := []perftest{
		{program: "ib_read_lat", iterations: 50, port: 18515, column: 4, unit: "us"},
		{program: "ib_write_bw", iterations: 20, port: 18615, column: 3, unit: "MiB/s"},
	}
	// While the servers start, the first clients can already run.
	servers := map[string]*perftestServer{}
	for _, test := range tests {
		for i, end := range ends[0] {
			if end.device != "" && ends[1][i].device != "" {
				started, err := server.serve(ctx, test, i+1, end)
				s.failure(err)
				servers[fmt.Sprint(test.program, i)] = started
			}
		}
	}
	s.say("One rail after the other, pod 2 to pod 1. GID is the index of the address with type RoCE v2.")
	const row = "%-5s %-6s %-4s %-11s    %-6s %-4s %-11s   %16s %17s"
	s.output(fmt.Sprintf(row, "rail", "pod 1", "GID", "address", "pod 2", "GID", "address", "ib_read_lat", "ib_write_bw"))
	passed := map[string]int{}
	var shown func()
	for i := range ends[0] {
		one, two := ends[0][i], ends[1][i]
		cells := []any{fmt.Sprint(i + 1), one.device, one.gid, one.where(), two.device, two.gid, two.where()}
		for _, test := range tests {
			line := test.commandLine(i+1, two) + " " + one.address.String()
			number, out, err := client.measure(ctx, test, line, servers[fmt.Sprint(test.program, i)])
			if err != nil {
				s.failure(fmt.Errorf("rail %d: %w", i+1, err))
				number = "failed"
			} else {
				passed[test.program]++
			}
			cells = append(cells, number)
			if i+1 == shownRail && test.program == "ib_read_lat" && err == nil {
				shown = func() {
					s.command(server.prompt, test.commandLine(i+1, one))
					s.output(banner(servers[fmt.Sprint(test.program, i)].out.String()))
					s.command(client.prompt, line)
					s.output(compact(out))
				}
			}
		}
		s.output(fmt.Sprintf(row, cells...))
	}
	if shown != nil {
		s.say("Rail %d in full, which the guide uses:", shownRail)
		shown()
	}
	for _, test := range tests {
		s.check(test.program+" on every rail", fmt.Sprint(len(ends[0])), fmt.Sprint(passed[test.program]))
	}
	return nil
}

// An endpoint is a pod's end of a rail.
type endpoint struct {
	device  string // empty if the pod has none for the rail
	gid     string // the index
	address netip.Addr
}

func (e endpoint) where() string {
	if e.device == "" {
		return ""
	}
	return e.address.String()
}

// endpoints finds for each rail the RDMA device by its netdev, and the index
// of the GID that the address has.
func (p *pod) endpoints(ctx context.Context) ([]endpoint, error) {
	out, err := p.run(ctx, "rdma link")
	if err != nil {
		return nil, err
	}
	ends := make([]endpoint, len(p.networks))
	for _, l := range parseRDMALinks(out) {
		var rail int
		if _, err := fmt.Sscanf(l.netdev, "net%d", &rail); err == nil && rail <= len(ends) && p.addresses[rail-1].IsValid() {
			ends[rail-1] = endpoint{device: l.device, address: p.addresses[rail-1].Addr()}
		}
	}
	for i := range ends {
		if ends[i].device == "" {
			continue
		}
		// The entry comes a moment after the address.
		err := eventually(ctx, func() error {
			ends[i].gid, err = p.run(ctx, gidSearch(ends[i]))
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return ends, nil
}

// gidSearch prints the index of the GID with the endpoint's address and the
// type RoCE v2. The index must not be guessed: it differs between drivers, and
// moves.
func gidSearch(e endpoint) string {
	four := e.address.As4()
	hex := binary.BigEndian.Uint32(four[:])
	gid := fmt.Sprintf("0000:0000:0000:0000:0000:ffff:%04x:%04x", hex>>16, hex&0xffff)
	return fmt.Sprintf(`cd /sys/class/infiniband/%s/ports/1
		for i in {0..31}; do
			read -r gid <gids/$i && read -r type <gid_attrs/types/$i
			[[ $gid == %s && $type == "RoCE v2" ]] && echo $i && exit
		done 2>/dev/null
		echo "no RoCE v2 GID %s"; exit 1`, e.device, gid, gid)
}
