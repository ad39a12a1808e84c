package e2e_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// documented is the first command of a page that begins so, without the comment.
func (s *site) documented(page, begin string) string {
	s.Helper()
	for line := range strings.Lines(s.file(page)) {
		if line = strings.TrimSpace(line); strings.HasPrefix(line, begin) {
			command, _, _ := strings.Cut(line, " #")
			return strings.TrimSpace(command)
		}
	}
	s.Fatalf("%s has no command %q", page, begin)
	return ""
}

// helm runs a command of helm and returns what it prints.
func (s *site) helm(command string) string {
	s.Helper()
	out, err := s.Helm(s.context(), strings.Fields(command)[1:]...)
	s.must(err)
	return out
}

// chart is the life of the project as a release of Helm's, by the commands of the
// documents: nothing of it is there before, and after it what they say.
func chart(s *site) {
	before := s.traces()
	root, folder := os.Getenv("ROCE_E2E_ROOT"), s.TempDir()
	write := func(name, content string) { s.must(os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644)) }

	packed := s.helm("helm package " + filepath.Join(root, "deployments/chart/roce-k8s") + " --destination " + folder)
	_, file, _ := strings.Cut(strings.TrimSpace(packed), " to: ")
	s.helm("helm push " + file + " oci://" + s.Registry() + "/roce-k8s/charts --plain-http")

	// All nodes at a time: how it goes from node to node is the scenario rollout's.
	const common = "updateStrategy: {rollingUpdate: {maxSurge: 100%}}\n"
	write("values.yaml", common+"policy: '{}'\n")
	install := strings.NewReplacer("ghcr.io", s.Registry(), "values.yaml", filepath.Join(folder, "values.yaml")).Replace(s.documented("README.md", "helm install")) +
		" --plain-http --post-renderer " + filepath.Join(root, "test/e2e/manifests/post-render")
	s.helm(install)
	s.expectDeployed()
	if out := s.helm(s.documented("docs/deploying.md", "helm test")); !strings.Contains(out, "Phase:          Succeeded") || !strings.Contains(out, resource) {
		s.Errorf("the test does not succeed, or explains nothing:\n%s", out)
	}

	// To what the node says of itself, and back under a pod that has NICs by it.
	write("discovered.yaml", common+withoutRDMA(s.discover("-o=values")))
	lowest := []func() int{s.lowest(s.nodes[0]), s.lowest(s.nodes[1])}
	s.helm(strings.NewReplacer("helm install", "helm upgrade", "values.yaml", "discovered.yaml").Replace(install) + " --set logLevel=debug")
	s.expectDeployed()
	s.expectDebugging(true)
	s.start(pod{name: "discovered", node: s.nodes[0].Name, networks: []string{"roce-net-1", "roce-net-8"}, units: 1})
	s.helm(s.documented("docs/operations.md", "helm rollback"))
	s.expectDeployed()
	s.expectDebugging(false)
	if networks := s.kubectl("get", "network-attachment-definitions", "-A", "-o", "name"); networks != "" {
		s.Errorf("after the rollback there are\n%s", networks)
	}
	for i, units := range lowest {
		if units := units(); units != 8 {
			s.Errorf("%s had %d of %s for a while", s.nodes[i].Name, units, resource)
		}
	}
	s.deletePods("discovered")
	s.expectAllBack()

	s.helm(s.documented("docs/operations.md", "helm uninstall"))
	remove := s.documented("docs/operations.md", "kubectl delete -n kube-system pod")
	s.kubectl(strings.Fields(remove)[1:]...)
	files := []string{"/etc/cni/roce-host-device.json", "/opt/cni/bin/roce-host-device", "/var/lib/cni/roce-host-device"}
	want := slices.Clone(before)
	for _, n := range s.nodes {
		s.awaitCount(n, 0)
		for _, file := range files {
			want = append(want, n.Name+" "+file)
		}
	}
	s.eventually(func() error {
		if after := s.traces(); !sameSet(after, want) {
			return fmt.Errorf("there is\n%s\nwant\n%s", strings.Join(after, "\n"), strings.Join(want, "\n"))
		}
		return nil
	})
	for _, n := range s.nodes {
		s.on(n, "rm -r "+strings.Join(files, " "))
	}
}

// expectDebugging checks what the DaemonSet has by the value logLevel.
func (s *site) expectDebugging(want bool) {
	s.Helper()
	args := s.kubectl("get", "-n", "kube-system", "daemonset/roce-k8s", "-o", "jsonpath={.spec.template.spec.containers[0].args}")
	if strings.Contains(args, "--log-level=debug") != want {
		s.Errorf("the device plugin has the arguments %s", args)
	}
}

// traces lists what the cluster has of the project, by name: objects, but for
// events, and files on the nodes, but for logs and those of images and containers.
func (s *site) traces() []string {
	s.Helper()
	ours := func(name string) bool { return strings.Contains(name, "roce-") || strings.Contains(name, "rdma") }
	var kinds []string
	for kind := range strings.FieldsSeq(s.kubectl("api-resources", "--verbs=list", "-o", "name")) {
		if !strings.HasPrefix(kind, "events") {
			kinds = append(kinds, kind)
		}
	}
	var traces []string
	for object := range strings.FieldsSeq(s.kubectl("get", strings.Join(kinds, ","), "-A", "-o", "name")) {
		if ours(object) {
			traces = append(traces, object)
		}
	}
	for _, n := range s.nodes {
		const files = `find /dev /etc /opt /run /var/lib -xdev -ignore_readdir_race \( -path /run/containerd -o -path /var/lib/containerd \) -prune -o -print`
		for file := range strings.Lines(s.on(n, files)) {
			if file = strings.TrimSpace(file); ours(filepath.Base(file)) {
				traces = append(traces, n.Name+" "+file)
			}
		}
	}
	return traces
}
