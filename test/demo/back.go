package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// everythingBack deletes the pods and compares the host with what it was.
func (s *story) everythingBack(ctx context.Context) error {
	for _, p := range s.pods {
		s.deletePod(ctx, p)
	}
	differences, err := s.compare(ctx)
	s.failure(err)

	_, err = s.show(ctx, s.machine, "ls -A "+attachment.DefaultDir+"/attachments", nil)
	s.failure(err)
	records, err := journalRecords()
	s.failure(err)
	addresses, reservations := -1, -1
	if s.ipam != nil {
		var pools string
		pools, addresses, err = s.ipam.pools()
		s.failure(err)
		reservations = s.ipam.reservations()
		s.say("Whereabouts' pools:")
		s.output(pools)
	}
	s.check("NICs as they were before", fmt.Sprint(len(s.before)), fmt.Sprint(len(s.before)-differences))
	s.check("journal records", "0", fmt.Sprint(records))
	s.check("addresses, reservations", "0, 0", fmt.Sprintf("%d, %d", addresses, reservations))
	for i, n := range s.nodes {
		s.allocateAnew(ctx, n, s.pods[i])
	}
	return nil
}

// allocateAnew frees a pod's units and asks for them as for a next pod, which
// is to get the same devices. The device plugin hears of moves a moment later.
func (s *story) allocateAnew(ctx context.Context, n *node, p *pod) {
	if len(p.units) == 0 {
		return // told before
	}
	want, have := shorten(withPrefix(p.devices, "uverbs")), ""
	_ = eventually(ctx, func() error {
		n.kubelet.Free(n.resource, p.units...)
		devices, _, err := n.allocate()
		if have = shorten(withPrefix(devices, "uverbs")); err == nil && have != want {
			err = errors.New("other devices")
		}
		return err
	})
	s.check(n.String()+", allocated anew", want, have)
}

// deletePod ends the container, calls DEL in reverse, and ends the sandbox.
func (s *story) deletePod(ctx context.Context, p *pod) {
	p.stop()
	if !p.sandbox {
		return
	}
	for i := len(p.networks) - 1; i >= 0; i-- {
		network, ifName := p.networks[i], fmt.Sprintf("net%d", i+1)
		if !p.tried[ifName] {
			continue
		}
		started := time.Now()
		if err := s.runtime.del(ctx, p, ifName, network.config); err != nil {
			s.failure(fmt.Errorf("pod %s, %s: %w", p.name, ifName, err))
			continue
		}
		s.output(fmt.Sprintf("DEL %s  %s  %s -> %-8s  %4.1f s", p.name, network.name, ifName, network.device, time.Since(started).Seconds()))
	}
	_, err := s.machine.run(ctx, "ip netns del "+p.name)
	s.failure(err)
}

// compare prints the NICs and counts those that are not as they were. The
// kernel needs a moment to bring a port up.
func (s *story) compare(ctx context.Context) (differences int, err error) {
	var after []nic
	var details []string
	err = eventually(ctx, func() error {
		links, err := s.machine.run(ctx, "rdma link")
		if err != nil {
			return err
		}
		if after, err = hostNICs(parseRDMALinks(links)); err != nil {
			return err
		}
		if differences, details = compareNICs(s.before, after); differences > 0 {
			return errors.New("not all NICs are as they were:\n" + strings.Join(details, "\n"))
		}
		return nil
	})
	var compared []string
	for _, f := range s.before[0].fields {
		compared = append(compared, f.name)
	}
	s.say("Compared for each NIC: %s.", strings.Join(compared, ", "))
	rows := [][]string{{"PCI address", "name", "MTU", "state", "RDMA", "port", "character device", "as before"}}
	for _, n := range after {
		same := "yes"
		if !slices.ContainsFunc(s.before, func(b nic) bool { return slices.Equal(b.fields, n.fields) }) {
			same = "NO"
		}
		rows = append(rows, []string{n.pci, n.name, n.field("MTU"), n.field("state"), n.rdma, n.field("port"), n.field("uverbs"), same})
	}
	s.output(strings.Join(table(rows, []int{12, 15, 5, 5, 8, 8, 16, 9}), "\n"))
	return differences, err
}

// compareNICs counts the NICs that differ, or are gone, and says in what.
func compareNICs(before, after []nic) (differences int, details []string) {
	for _, b := range before {
		i := slices.IndexFunc(after, func(a nic) bool { return a.pci == b.pci })
		if i < 0 {
			differences++
			details = append(details, b.name+" is not on the host")
			continue
		}
		if slices.Equal(b.fields, after[i].fields) {
			continue
		}
		differences++
		for _, f := range b.fields {
			if now := after[i].field(f.name); now != f.value {
				details = append(details, fmt.Sprintf("%s: %s was %q, is %q", b.name, f.name, f.value, now))
			}
		}
	}
	return differences, details
}
