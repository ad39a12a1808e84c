package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// theDevicePlugin registers with the kubelet and is asked for devices.
func (s *story) theDevicePlugin(ctx context.Context) error {
	s.say("The kubelet is a stand-in that speaks the real v1beta1 gRPC API. Node 2's config.json differs in the names of its NICs.")
	for i, n := range s.nodes {
		s.command(fmt.Sprintf("root@node%d:~# ", n.number), n.commandLine())
		if err := n.start(ctx); err != nil {
			s.failure(err)
			continue
		}
		devices, ids, err := n.allocate()
		if err != nil {
			s.failure(err)
			continue
		}
		s.pods[i].devices, s.pods[i].units = devices, ids
		s.output(n.log.take())
		s.say("the kubelet's node status, allocatable:")
		s.output(n.allocatable())
		s.say("Allocate's answer for pod %s, %s, each with rw:", s.pods[i].name, n.offer(n.units))
		s.output("/dev/infiniband/{" + strings.Join(withPrefix(devices, ""), ", ") + "}")
		s.check(n.String()+", allocatable", n.offer(n.units), n.allocatable())
		s.check(n.String()+", allocated", shorten(s.uverbs(n)), shorten(withPrefix(devices, "uverbs")))
	}
	return nil
}

// uverbs are the character devices of a node's NICs, as sysfs has them.
func (s *story) uverbs(n *node) []string {
	var names []string
	for _, nic := range s.before {
		if slices.Contains(n.nics, nic.name) {
			names = append(names, nic.field("uverbs"))
		}
	}
	return names
}

// stillEight looks at the kubelets while all NICs are in pods, and once more
// after the device plugins were started anew.
func (s *story) stillEight(ctx context.Context) error {
	s.say("The host has none of the NICs now:")
	netdevs, err := s.show(ctx, s.machine, "ls /sys/class/net", nil)
	if err != nil {
		return err
	}
	links, err := s.show(ctx, s.machine, sortedRDMALink, nil)
	if err != nil {
		return err
	}
	devices := 0
	if s.mode == "shared" {
		devices = len(s.before)
	}
	s.check("netdevs on the host", "lo", netdevs)
	s.check("RDMA devices on the host", fmt.Sprint(devices), fmt.Sprint(len(parseRDMALinks(links))))
	for _, n := range s.nodes {
		s.check(n.String()+", allocatable", n.offer(n.units), n.allocatable())
	}
	for _, n := range s.nodes {
		if n.plugin == nil {
			s.failure(fmt.Errorf("%v has no device plugin to restart", n))
			continue
		}
		n.log.take() // what it logged as the NICs went
		s.command(fmt.Sprintf("root@node%d:~# ", n.number), "kill -TERM "+fmt.Sprint(n.plugin.command.Process.Pid)+"; "+n.commandLine())
		if err := n.restart(ctx); err != nil {
			s.failure(err)
			continue
		}
		s.output(n.log.take())
		s.check(n.String()+", after a restart", n.offer(n.units), n.allocatable())
	}
	return nil
}

// withPrefix are the base names that begin so.
func withPrefix(paths []string, prefix string) []string {
	var names []string
	for _, path := range paths {
		if name := filepath.Base(path); strings.HasPrefix(name, prefix) {
			names = append(names, name)
		}
	}
	return names
}
