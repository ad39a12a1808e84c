package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// dra is the guide with the DRA driver in the device plugin's place: the pods are the
// guide's, and the scheduler makes their claims.
func (s *site) dra() story {
	return story{
		title: "The operator's guide by Dynamic Resource Allocation, replayed in " + s.mode + " mode",
		about: "Written by `test/e2e/guide/run dra`: the pods are [the guide's](guide.md), with `rdma/hca_gpu: 8`, and their NICs come from [the DRA driver](dra.md).",
		chapters: []chapter{
			{"Two nodes", "", s.startNodes},
			{"1. The DRA driver", "The manifests as they are. This cluster has no Services, so the driver is told where the API server is.", s.driver},
			{"2. Multus, Whereabouts and the networks", "As in the guide: who has networks keeps them.", s.networks},
			{"3. The pods", "", s.startPods},
			{"In the pods", "", s.lookIntoPods},
			{"The claims", "The scheduler has made them, for the extended resource.", s.showClaims},
			{"ib_read_lat on every rail", "", s.traffic},
			{"The pods are deleted", "", s.deletePods},
			{"The pods without their networks", "Nothing is left of the annotation. The nodes have given their rails addresses, and the DeviceClass says that the pods keep them.", s.startWithoutNetworks},
			{"In the pods", "", s.lookAtRails},
			{"The claims", "", s.showClaims},
			{"ib_read_lat on every rail", "", s.traffic},
			{"The pods are deleted", "", s.deletePods},
			{"The nodes have their addresses back", "", s.lookAtAddresses},
		},
	}
}

// driver deploys the driver and gives it the nodes.
func (s *site) driver(ctx context.Context) error {
	if err := s.apply(ctx, "-k deployments/overlays/dra", s.root); err != nil {
		return err
	}
	for _, command := range []string{
		"set env -n kube-system daemonset/roce-k8s-dra -c driver KUBERNETES_SERVICE_HOST=10.77.0.1 KUBERNETES_SERVICE_PORT=6443",
		"label nodes --all roce-k8s.io/allocation=dra",
	} {
		if _, err := s.kubectl(ctx, command); err != nil {
			return err
		}
	}
	for _, n := range s.nodes {
		s.checkOffer(ctx, n)
	}
	if _, err := s.kubectl(ctx, "get resourceslices"); err != nil {
		return err
	}
	const filter = ".items[0].spec.devices[0]"
	slices, err := s.Kubectl(ctx, "get", "resourceslices", "-o", "json")
	if err != nil {
		return err
	}
	jq := exec.CommandContext(ctx, "jq", "-c", filter)
	jq.Stdin = strings.NewReader(slices)
	out, err := jq.Output()
	s.shell(workstation, "kubectl get resourceslices -o json | jq -c '"+filter+"'", string(out))
	return err
}

// awaitSlice waits until a node offers its eight NICs, none with a taint.
func (s *site) awaitSlice(ctx context.Context, n *cluster.Node) error {
	return cluster.Eventually(ctx, func() error {
		out, err := s.Kubectl(ctx, "get", "resourceslices", "-o", `jsonpath={range .items[?(@.spec.nodeName=="`+n.Name+`")].spec.devices[*]}{.name}{.taints[*].key} {end}`)
		if err == nil && (len(strings.Fields(out)) != rails || strings.Contains(out, "/")) {
			err = fmt.Errorf("%s offers %s", n.Name, out)
		}
		return err
	})
}

// showClaims shows what the claims have, and what they say that the pods have.
func (s *site) showClaims(ctx context.Context) error {
	if _, err := s.kubectl(ctx, "get resourceclaims"); err != nil {
		return err
	}
	for _, p := range s.pods {
		var said string
		err := cluster.Eventually(ctx, func() (err error) {
			said, err = s.Kubectl(ctx, "get", "resourceclaims", "-o", `jsonpath={range .items[?(@.status.reservedFor[0].name=="`+p.name+`")].status.devices[*]}{.device} {.networkData.interfaceName} {.networkData.ips[0]}{"\n"}{end}`)
			if err == nil {
				for i := range p.rails {
					if !strings.Contains(said, " "+p.rails[i].address+"/") {
						return fmt.Errorf("nothing of %s in %s", p.rails[i].address, said)
					}
				}
			}
			return err
		})
		s.shell(workstation, `kubectl get resourceclaims -o jsonpath='{range .items[?(@.status.reservedFor[0].name=="`+p.name+`")].status.devices[*]}{.device} {.networkData.interfaceName} {.networkData.ips[0]}{"\n"}{end}'`, said)
		s.check("the claim of "+p.name+" says what it has", err)
	}
	return nil
}

// parameters of the DeviceClass: the pods' NICs keep their addresses.
const parameters = `{"spec": {"config": [{"opaque": {"driver": "roce-k8s.io", "parameters": {"keepAddresses": true}}}]}}`

// startWithoutNetworks gives the nodes' rails addresses, and starts the guide's
// pods without the annotation that names their networks.
func (s *site) startWithoutNetworks(ctx context.Context) error {
	for at, n := range s.nodes {
		var script strings.Builder
		for i, nic := range cluster.Rails() {
			fmt.Fprintf(&script, "ip addr add 172.31.%d.%d/24 dev %s\n", i+1, 101+at, nic)
		}
		if _, err := n.Run(ctx, "set -e\n"+script.String()); err != nil {
			return err
		}
		s.shell(prompt(n), strings.TrimSuffix(script.String(), "\n"), "")
	}
	out, err := s.Kubectl(ctx, "patch", "deviceclass", "roce-k8s.io", "--type=merge", "-p", parameters)
	s.shell(workstation, "kubectl patch deviceclass roce-k8s.io --type=merge -p '"+parameters+"'", out)
	if err != nil {
		return err
	}
	if err := s.applyChanged(ctx, "deployments/examples/guide-pods.yaml", "del(.metadata.annotations)"); err != nil {
		return err
	}
	return s.awaitPods(ctx)
}

func (s *site) lookAtRails(ctx context.Context) error { return s.lookInto(ctx, "rail") }

func (s *site) lookAtAddresses(ctx context.Context) error {
	const command = "ip -br -4 addr | grep ens"
	for at, n := range s.nodes {
		out, err := n.Run(ctx, command)
		s.shell(prompt(n), command, out)
		for i, nic := range cluster.Rails() {
			if want := fmt.Sprintf("%s +UP +172\\.31\\.%d\\.%d/24", nic, i+1, 101+at); err == nil && !regexp.MustCompile(want).MatchString(out) {
				err = errors.New(out)
			}
		}
		s.check(n.Name+" has its addresses", err)
	}
	return nil
}
