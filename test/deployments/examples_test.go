package deployments

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// examples reads the examples by file name, with the folder of those that have one.
func examples(t *testing.T) map[string]objects {
	t.Helper()
	files, err := filepath.Glob(folder + "examples/*.yaml")
	must(t, err)
	in, err := filepath.Glob(folder + "examples/*/*.yaml")
	must(t, err)
	found := map[string]objects{}
	for _, file := range append(files, in...) {
		b, err := os.ReadFile(file)
		must(t, err)
		found[strings.TrimPrefix(file, folder+"examples/")] = decode(t, b)
	}
	return found
}

// exampleNetworks are all networks of the examples, by file and name.
func exampleNetworks(t *testing.T) map[string]*network {
	t.Helper()
	networks := map[string]*network{}
	for file, o := range examples(t) {
		for _, n := range all[*network](o) {
			networks[file+" "+n.Name] = n
		}
	}
	return networks
}

func cniConfig(t *testing.T, n *network) map[string]any {
	t.Helper()
	config := map[string]any{}
	must(t, json.Unmarshal([]byte(n.Spec.Config), &config))
	return config
}

func TestTheGuidesNetworksDifferFromOursInTheGatewayAlone(t *testing.T) {
	guide, ours := examples(t)["guide-networks.yaml"], examples(t)["networks.yaml"]
	if len(guide) != 8 {
		t.Errorf("%d networks", len(guide))
	}
	for name, n := range all[*network](ours) {
		config := cniConfig(t, n)
		ipam := config["ipam"].(map[string]any)
		if exclude := ipam["exclude"].([]any); len(exclude) != 1 || exclude[0] != ipam["gateway"].(string)+"/32" {
			t.Errorf("%s excludes %v", name, exclude)
		}
		delete(ipam, "exclude")
		n.Spec.Config = string(indent(t, config))
	}
	same(t, ours, guide)
}

// The networks of overlays/exclusive are ours and insist on the mode.
func TestTheExclusiveNetworksDifferFromOursInTheModeAlone(t *testing.T) {
	exclusive := objects{}
	for _, n := range all[*network](kustomize(t, "overlays/exclusive")) {
		config := cniConfig(t, n)
		if config["rdmaMode"] != "exclusive" {
			t.Errorf("%s: mode %v", n.Name, config["rdmaMode"])
		}
		delete(config, "rdmaMode")
		n.Spec.Config, n.Namespace = string(indent(t, config)), ""
		exclusive["NetworkAttachmentDefinition /"+n.Name] = n
	}
	same(t, exclusive, examples(t)["networks.yaml"])
}

func TestPodsOfTheExamplesFindTheirNetworksAndTheirUnits(t *testing.T) {
	networks := map[string]bool{}
	for _, n := range exampleNetworks(t) {
		networks[n.Name] = true
	}
	for file, o := range examples(t) {
		pods := map[string]corev1.PodTemplateSpec{}
		for name, p := range all[*corev1.Pod](o) {
			pods[name] = corev1.PodTemplateSpec{ObjectMeta: p.ObjectMeta, Spec: p.Spec}
		}
		for name, j := range all[*batchv1.Job](o) {
			pods[name] = j.Spec.Template
		}
		for name, c := range all[*batchv1.CronJob](o) {
			pods[name] = c.Spec.JobTemplate.Spec.Template
		}
		for name, p := range pods {
			units := p.Spec.Containers[0].Resources.Limits["rdma/hca_gpu"]
			mentions := mentioned(t, p.ObjectMeta)
			if len(mentions) == 0 && units.IsZero() {
				continue // it looks at the node
			}
			if len(mentions) != 8 {
				t.Errorf("%s: %s has %d networks", file, name, len(mentions))
			}
			for _, m := range mentions {
				if !networks[m] {
					t.Errorf("%s: no network %s for %s", file, m, name)
				}
			}
			if units.Value() != 8 {
				t.Errorf("%s: %s has %s units", file, name, &units)
			}
		}
	}
	if pods := len(all[*corev1.Pod](examples(t)["guide-pods.yaml"])); pods != 2 {
		t.Errorf("%d pods of the guide", pods)
	}
}

// mentioned reads the networks of a pod in either of Multus' notations.
func mentioned(t *testing.T, pod metav1.ObjectMeta) []string {
	t.Helper()
	text := strings.TrimSpace(pod.Annotations["k8s.v1.cni.cncf.io/networks"])
	if text == "" {
		return nil
	}
	if !strings.HasPrefix(text, "[") {
		return strings.Split(text, ",")
	}
	var list []struct{ Name string }
	must(t, json.Unmarshal([]byte(text), &list))
	names := make([]string, len(list))
	for i, n := range list {
		names[i] = n.Name
	}
	return names
}
