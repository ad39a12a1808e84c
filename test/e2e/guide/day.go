package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// day is what an operator does on nodes with nothing prepared: no file is written by
// hand, and nobody looks at a node's NICs.
func (s *site) day() story {
	return story{
		title: "The operator's day, in " + s.mode + " mode",
		about: "Written by `make day`: from nodes with nothing prepared to a tested fabric, each command as it was typed. No file is edited by hand.",
		chapters: []chapter{
			{"Two nodes", "", s.startNodes},
			{"What the nodes have", "The program from a release's tarball, on each node.", s.discover},
			{"Multus, Whereabouts and roce-k8s", "Multus and Whereabouts are on the nodes; what their authors would have users apply is applied.", s.install},
			{"What discover printed", "", s.applyDiscovered},
			{"The guide's pods", "", s.startPods},
			{"In the pods", "", s.lookIntoPods},
			{"Who has what", "", s.status},
			{"The pods are deleted", "", s.deletePods},
			{"The doctor", "", s.doctor},
			{"The fabric", "The processor is emulated: few and small messages, and no thresholds. And the cluster has no DNS: the pods find the first one in their `/etc/hosts`.", s.fabric},
		},
	}
}

// discover runs on each node, and puts what they say together.
func (s *site) discover(ctx context.Context) error {
	var seen []string
	for _, n := range s.nodes {
		if err := n.Share(s.file("bin/rdma-device-plugin"), node.ProgramsFolder); err != nil {
			return err
		}
		typed := "rdma-device-plugin discover -o json > " + n.Name + ".json"
		said, err := n.Run(ctx, typed)
		if err != nil {
			return err
		}
		s.shell(prompt(n), typed, said)
		out, err := n.Run(ctx, "cat "+n.Name+".json")
		if err != nil {
			return err
		}
		file := filepath.Join(s.folder, n.Name+".json")
		if err := os.WriteFile(file, []byte(out), 0o600); err != nil {
			return err
		}
		seen = append(seen, file)
	}
	if _, err := s.merge(ctx, "configmap", seen); err != nil {
		return err
	}
	networks, err := s.merge(ctx, "networks", seen)
	for rail := 1; err == nil && rail <= rails; rail++ {
		s.check(fmt.Sprintf("a network for rail %d", rail), contains(networks, fmt.Sprintf("name: roce-net-%d", rail)))
	}
	return err
}

// merge writes one of the things that discover says of all nodes into a file.
func (s *site) merge(ctx context.Context, what string, seen []string) (string, error) {
	cmd := exec.CommandContext(ctx, s.file("bin/rdma-device-plugin"), append([]string{"discover", "merge", "-o", what}, seen...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("discover merge: %w", err)
	}
	file := what + ".yaml"
	s.shell(workstation, "rdma-device-plugin discover merge -o "+what+" node1.json node2.json > "+file+"; head -n 30 "+file, head(string(out), 30))
	return string(out), os.WriteFile(filepath.Join(s.folder, file), out, 0o600)
}

// install applies what is the same on every cluster.
func (s *site) install(ctx context.Context) error {
	for _, peer := range []string{"multus", "whereabouts"} {
		if err := s.Install(ctx, peer); err != nil {
			return err
		}
	}
	return s.apply(ctx, "-n kube-system -f deployments/base/daemonset.yaml", s.root)
}

// applyDiscovered applies ConfigMap and networks.
func (s *site) applyDiscovered(ctx context.Context) error {
	if err := s.apply(ctx, "-f configmap.yaml", s.folder); err != nil {
		return err
	}
	err := cluster.Eventually(ctx, func() error { // until the new kind is served
		_, err := s.Kubectl(ctx, "get", "network-attachment-definitions")
		return err
	})
	if err != nil {
		return err
	}
	if err := s.apply(ctx, "-f networks.yaml", s.folder); err != nil {
		return err
	}
	for _, n := range s.nodes {
		s.check("rdma/hca_gpu: 8 on "+n.Name, s.awaitCount(ctx, n, "8"))
	}
	return nil
}

// status asks the device plugin's container on each node.
func (s *site) status(ctx context.Context) error {
	for _, n := range s.nodes {
		plugin, err := s.pluginOn(ctx, n)
		if err != nil {
			return err
		}
		out, err := s.kubectl(ctx, "exec -n kube-system "+plugin+" -- /rdma-device-plugin status")
		if err != nil {
			return err
		}
		for i := 1; i <= rails; i++ {
			s.check(fmt.Sprintf("%s: a pod has net%d", n.Name, i), contains(out, fmt.Sprintf("net%d in ", i)))
		}
	}
	return nil
}

func (s *site) pluginOn(ctx context.Context, n *cluster.Node) (string, error) {
	name, err := s.Kubectl(ctx, "get", "pods", "-n", "kube-system", "-l", "app.kubernetes.io/name=roce-k8s", "--field-selector", "spec.nodeName="+n.Name, "-o", "name")
	if err == nil && name == "" {
		err = errors.New("no device plugin on " + n.Name)
	}
	return strings.TrimSpace(name), err
}

// doctor looks at all nodes.
func (s *site) doctor(ctx context.Context) error {
	const job = "job/roce-doctor"
	if err := s.apply(ctx, "-f deployments/examples/doctor-job.yaml", s.root); err != nil {
		return err
	}
	reports, err := s.finished(ctx, job, "-n", "kube-system")
	s.shell(workstation, "kubectl logs -n kube-system "+job+" --all-pods", reports)
	if err == nil && strings.Count(reports, "clean: ") != len(s.nodes) {
		err = errors.New("not clean")
	}
	s.check("the doctor finds nothing on any node", err)
	return nil
}

// finished waits for a Job's end and returns what its pods have said. That it failed
// is an error.
func (s *site) finished(ctx context.Context, job string, where ...string) (string, error) {
	err := cluster.Eventually(ctx, func() error {
		conditions, err := s.Kubectl(ctx, append([]string{"get", job, "-o", `jsonpath={.status.conditions[?(@.status=="True")].type}`}, where...)...)
		switch {
		case err != nil:
			return err
		case strings.Contains(conditions, "Failed"):
			return fmt.Errorf("%w: %s failed", cluster.ErrFinal, job)
		case !strings.Contains(conditions, "Complete"):
			return errors.New(job + " has not finished")
		}
		return nil
	})
	logs, logsErr := s.Kubectl(ctx, append([]string{"logs", job, "--all-pods", "--tail=-1"}, where...)...)
	return logs, errors.Join(err, logsErr)
}

// head is what a text begins with.
func head(text string, lines int) string {
	all := strings.SplitAfter(text, "\n")
	return strings.Join(all[:min(lines, len(all))], "")
}

// gentle is what an emulated processor is asked for: few and small messages, and no
// speed.
const gentle = `if .kind == "Job" then .spec.template.spec.containers[0].args += ["--iterations=10", "--seconds=4", "--size=4096", ` +
	`"--qp-timeout=18", "--within=4m", "--at-once=1", "--min-bandwidth=0", "--max-latency=0", "--wait=15m"] else . end`

// fabric tests every rail between the two nodes.
func (s *site) fabric(ctx context.Context) error {
	if err := s.applyChanged(ctx, "deployments/examples/fabric-test/job.yaml", gentle); err != nil {
		return err
	}
	if err := s.nameCoordinator(ctx); err != nil {
		return err
	}
	const name = "job/roce-fabric-test"
	report, err := s.finished(ctx, name)
	s.shell(workstation, "kubectl logs "+name+" --all-pods", report)
	s.check("every rail passes", err)
	return nil
}

// nameCoordinator does what the cluster's DNS would: this one has none. The pods of
// the Job find the first one in their /etc/hosts, which is the kubelet's file: it
// writes it anew whenever a container of the pod starts.
// Source: ensureHostsFile in Kubernetes 1.37.2, pkg/kubelet/kubelet_pods.go.
func (s *site) nameCoordinator(ctx context.Context) error {
	const pods = `{range .items[*]}{.metadata.labels.batch\.kubernetes\.io/job-completion-index} {.metadata.uid} {.spec.nodeName} {.status.podIP} {.status.conditions[?(@.type=="ContainersReady")].status}{"\n"}{end}`
	return cluster.Eventually(ctx, func() error {
		out, err := s.Kubectl(ctx, "get", "pods", "-l", "app=roce-fabric-test", "-o", "jsonpath="+pods)
		if err != nil {
			return err
		}
		address, all := "", strings.Split(strings.TrimSpace(out), "\n")
		for _, line := range all {
			words := strings.Fields(line)
			if len(words) < 5 || words[4] != "True" {
				return errors.New("the Job's pods do not run yet: " + out)
			}
			if words[0] == "0" {
				address = words[3]
			}
		}
		for _, line := range all {
			words := strings.Fields(line)
			for _, n := range s.nodes {
				if n.Name != words[2] {
					continue
				}
				if _, err := n.Run(ctx, "echo "+address+" roce-fabric-test-0.roce-fabric-test >> /var/lib/kubelet/pods/"+words[1]+"/etc-hosts"); err != nil {
					return err
				}
			}
		}
		return nil
	})
}
