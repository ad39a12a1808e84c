package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// rails is how many NICs a node has, and each pod gets.
const rails = 8

// What is looked at of a NIC, in the order of the report.
const (
	name      = "name"
	up        = "up"
	mtu       = "MTU"
	addresses = "addresses"
	routes    = "routes"
	aliases   = "alias, altname"
)

func aspects() []string { return []string{name, up, mtu, addresses, routes, aliases} }

// nics are those of a node that are in one network namespace, by MAC address, with
// each aspect as text.
type nics map[string]map[string]string

// same counts the NICs that have an aspect as before.
func (n nics) same(before nics, aspect string) int {
	count := 0
	for mac, nic := range n {
		if nic[aspect] == before[mac][aspect] {
			count++
		}
	}
	return count
}

// equipped counts the NICs that have an address.
func (n nics) equipped() int {
	count := 0
	for _, nic := range n {
		if nic[addresses] != "" {
			count++
		}
	}
	return count
}

// is tells whether all NICs are as before.
func (n nics) is(before nics) bool {
	return !slices.ContainsFunc(aspects(), func(aspect string) bool { return n.same(before, aspect) != rails })
}

// ofHost are the NICs on the host, ofPods those in pods.
func (s *site) ofHost(ctx context.Context) (nics, error) {
	return s.look(ctx, "ip -j addr; ip -j route")
}

func (s *site) ofPods(ctx context.Context) (nics, error) {
	return s.look(ctx, `for pod in /run/netns/cni-*; do
	[[ ! -e $pod ]] || nsenter --net="$pod" bash -c "ip -j addr; ip -j route"
done`)
}

// look runs a script on the node that prints links and then routes of network
// namespaces in turns, in the JSON of ip.
func (s *site) look(ctx context.Context, script string) (nics, error) {
	var out string
	err := cluster.Eventually(ctx, func() (err error) {
		out, err = s.node.Run(ctx, script)
		if err == nil && strings.Contains(out, "Dump was interrupted") { // the links changed meanwhile
			err = errors.New("ip saw some of the links twice or not at all")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	all := nics{}
	for in := json.NewDecoder(strings.NewReader(out)); ; {
		var links []struct {
			IfName, Address, IfAlias string
			AltNames, Flags          []string
			MTU                      int
			AddrInfo                 []struct {
				Local, Scope string
				PrefixLen    int
			} `json:"addr_info"`
		}
		var ways []struct{ Dst, Gateway, Dev, Protocol string }
		err := in.Decode(&links)
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err = errors.Join(err, in.Decode(&ways)); err != nil {
			return nil, fmt.Errorf("what ip says: %w: %s", err, out)
		}
		for _, link := range links {
			if !slices.ContainsFunc(s.node.NICs, func(n node.NIC) bool { return n.MAC == link.Address }) {
				continue
			}
			nic := map[string]string{
				name: link.IfName, up: fmt.Sprint(slices.Contains(link.Flags, "UP")), mtu: fmt.Sprint(link.MTU),
				aliases: fmt.Sprint(link.IfAlias, link.AltNames),
			}
			for _, a := range link.AddrInfo {
				if a.Scope == "global" {
					nic[addresses] += fmt.Sprintf("%s/%d ", a.Local, a.PrefixLen)
				}
			}
			for _, way := range ways {
				if way.Dev == link.IfName && way.Protocol != "kernel" {
					nic[routes] += fmt.Sprintf("%s via %s ", way.Dst, way.Gateway)
				}
			}
			all[link.Address] = nic
		}
	}
}

// configure gives the NICs on the host what an administrator has set.
func (s *site) configure(ctx context.Context) error {
	var script strings.Builder
	for i, nic := range cluster.Rails() {
		fmt.Fprintf(&script, `ip link set %[1]s up mtu 8900 alias "rail %[2]d" && ip -4 addr flush dev %[1]s && ip addr add 172.31.%[2]d.1/24 dev %[1]s &&
ip route replace 10.31.%[2]d.0/24 via 172.31.%[2]d.254 dev %[1]s || exit
ip link show roce%[2]d >/dev/null 2>&1 || ip link property add dev %[1]s altname roce%[2]d || exit
`, nic, i+1)
	}
	return cluster.Eventually(ctx, func() error {
		_, err := s.node.Run(ctx, script.String())
		return err
	})
}

// replace removes what is left of the NICs and makes new ones, as new hardware.
func (s *site) replace(ctx context.Context) error {
	for _, n := range s.Nodes {
		const remove = `ip -o link | awk -F'[ :@]+' '/ 94:6d:ae:/ {print $2}' | while read -r nic; do ip link delete "$nic"; done`
		if err := cluster.Eventually(ctx, func() error { // the kernel ends a namespace, and what is in it, some time later
			out, err := n.Run(ctx, remove+`; for ns in /run/netns/*; do [[ ! -e $ns ]] || nsenter --net="$ns" ip -o link; done; ip -o link`)
			if err == nil && strings.Contains(out, "94:6d:ae:") {
				err = errors.New("NICs are left: " + out)
			}
			return err
		}); err != nil {
			return err
		}
	}
	return cluster.Wire(ctx, s.Nodes[0], s.Nodes[1])
}
