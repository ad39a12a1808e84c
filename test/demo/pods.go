package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// thePods makes both pods and gives them their rails, as Multus does: one
// network after the other.
func (s *story) thePods(ctx context.Context) error {
	var err error
	if s.ipam, err = startIPAM(); err != nil {
		return err
	}
	s.runtime = newRuntime()
	s.say("The guide's NetworkAttachmentDefinitions with \"type\" changed from host-device to roce-host-device. The first of the eight:")
	s.document(s.networks[0].text)
	s.say("Whereabouts is the real v0.8.0; its API server is a stand-in. libcni calls the plugin as Multus does; the first call and its result:")
	attached := 0
	for _, p := range s.pods {
		if err := p.makeSandbox(ctx, s.machine); err != nil {
			s.failure(err)
			continue
		}
		for i := range p.networks {
			if err := s.attach(ctx, p, i); err != nil {
				s.failure(err)
				continue
			}
			attached++
		}
		s.failure(p.start(ctx))
	}
	s.say("Whereabouts' pools:")
	pools, addresses, err := s.ipam.pools()
	s.failure(err)
	s.output(pools)
	rails := len(s.pods) * len(s.networks)
	s.check("NICs given to pods", fmt.Sprint(rails), fmt.Sprint(attached))
	s.check("addresses that are taken", fmt.Sprint(rails), fmt.Sprint(addresses))
	records, err := journalRecords()
	s.check("journal records", fmt.Sprint(rails), fmt.Sprint(records))
	return err
}

// attach gives a pod one of its rails and reports it in one line. The very
// first one is reported in full.
func (s *story) attach(ctx context.Context, p *pod, rail int) error {
	network, ifName := p.networks[rail], fmt.Sprintf("net%d", rail+1)
	first := p == s.pods[0] && rail == 0
	if first {
		s.command(s.machine.prompt, s.runtime.commandLine(p, ifName)+" <spec.config")
	}
	started := time.Now()
	p.tried[ifName] = true
	result, err := s.runtime.add(ctx, p, ifName, network.config)
	if err != nil {
		return fmt.Errorf("pod %s, %s: %w", p.name, ifName, err)
	}
	if first {
		s.output(result.text)
		s.say("One line for each call, as they come:")
	}
	p.addresses[rail] = result.address
	s.output(fmt.Sprintf("ADD %s  %s  %-8s -> %s  %-13s  %4.1f s", p.name, network.name, network.device, ifName, result.address, time.Since(started).Seconds()))
	return nil
}

// insideThePods shows what the guide shows.
func (s *story) insideThePods(ctx context.Context) error {
	if s.mode == "shared" {
		s.say("In shared mode all RDMA devices are seen from everywhere; those with a netdev are the pod's.")
	}
	for _, p := range s.pods {
		s.failure(s.inside(ctx, p))
	}
	return nil
}

func (s *story) inside(ctx context.Context, p *pod) error {
	if !p.running() {
		return fmt.Errorf("pod %s does not run", p.name)
	}
	// A port is active once the driver has seen its netdev's carrier.
	given := len(slices.DeleteFunc(slices.Clone(p.addresses), func(a netip.Prefix) bool { return !a.IsValid() }))
	err := eventually(ctx, func() error {
		out, err := p.run(ctx, "rdma link")
		if up := strings.Count(ibdev2netdev(parseRDMALinks(out)), "(Up)"); err == nil && up < given {
			err = fmt.Errorf("pod %s: %d of %d RDMA devices are up", p.name, up, given)
		}
		return err
	})
	s.failure(err)
	out, err := s.show(ctx, p.place, sortedRDMALink, nil)
	if err != nil {
		return err
	}
	links := parseRDMALinks(out)
	slices.SortFunc(links, func(a, b rdmaLink) int { return strings.Compare(a.netdev, b.netdev) })
	s.say("The same in the words of ibdev2netdev:")
	s.output(ibdev2netdev(links))
	seen, err := s.show(ctx, p.place, "ip a", shortIPA)
	if err != nil {
		return err
	}
	files, err := s.show(ctx, p.place, "ls /dev/infiniband", func(out string) string { return strings.ReplaceAll(out, "\n", " ") })
	if err != nil {
		return err
	}
	rails, visible := len(p.networks), len(p.networks)
	if s.mode == "shared" {
		visible = len(s.before) // RDMA devices have no namespace of their own
	}
	netdevs := parseIPA(seen)
	var want, have []string
	for i := range p.networks {
		ifName := fmt.Sprintf("net%d", i+1)
		want = append(want, fmt.Sprintf("%s up mtu %s %s", ifName, mtu, p.addresses[i]))
		have = append(have, netdevs[ifName])
	}
	who := fmt.Sprintf("pod %d, ", p.number)
	s.check(who+"RDMA devices", fmt.Sprintf("%d, %d up", visible, rails), fmt.Sprintf("%d, %d up", len(links), strings.Count(ibdev2netdev(links), "(Up)")))
	s.check(who+"up, MTU, address", fmt.Sprint(rails), fmt.Sprint(rails-len(missing(want, have))))
	s.check(who+"device files", shorten(withPrefix(p.devices, "uverbs")), shorten(withPrefix(strings.Fields(files), "uverbs")))
	return nil
}
