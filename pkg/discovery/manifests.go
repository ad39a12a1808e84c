package discovery

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// What to print, besides all that `kubectl apply` takes.
const (
	All       = "all"
	ConfigMap = "configmap"
	Networks  = "networks"
	Values    = "values"
	Pod       = "pod"
	JSON      = "json"
)

// Names of the guide's.
const (
	configMapName = "rdma-devices"
	namespace     = "kube-system"
	resourceName  = "hca_gpu"
	podName       = "gpu-rdma-pod-1"
	podImage      = "ghcr.io/roce-k8s/rdma-tools:1.0.0"
)

// CheckOutput says what is wrong with a word for what to print.
func CheckOutput(output string) error {
	switch output {
	case All, ConfigMap, Networks, Values, Pod, JSON:
		return nil
	}
	return &InputError{fmt.Errorf("-o %q: use %s, %s, %s, %s or %s, or leave it out for all that kubectl can apply",
		output, ConfigMap, Networks, Values, Pod, JSON)}
}

// Print writes what a site needs for its nodes.
func (f *Fleet) Print(w io.Writer, output string, a Addressing) error {
	if output == JSON {
		return f.printJSON(w)
	}
	if len(f.rails) == 0 {
		return errors.New("no NIC is for pods:" + strings.ReplaceAll(f.leftOut(), "\n#", "\n"))
	}
	networks, err := f.networks(a)
	if err != nil {
		return err
	}
	var documents []string
	for _, part := range []struct {
		name string
		text func() (string, error)
	}{
		{ConfigMap, f.configMap},
		{Networks, func() (string, error) { return manifestsOf(networks), nil }},
		{Pod, func() (string, error) { return f.pod(networks), nil }},
		{Values, func() (string, error) { return f.values(networks) }},
	} {
		if output == part.name || output == All && part.name != Values {
			text, err := part.text()
			if err != nil {
				return err
			}
			documents = append(documents, text)
		}
	}
	_, err = io.WriteString(w, f.header()+strings.Join(documents, "---\n"))
	return err
}

// printJSON writes a node as it is, for Merge, and several with their differences.
func (f *Fleet) printJSON(w io.Writer) error {
	var v any = f
	if len(f.Nodes) == 1 {
		v = f.Nodes[0]
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	_, err = w.Write(append(b, '\n'))
	return err
}

// header says in comments what the rest was made from.
func (f *Fleet) header() string {
	var b strings.Builder
	for _, n := range f.Nodes {
		fmt.Fprintf(&b, "# Node %s, RDMA mode %s\n", comment(n.Name), cmp.Or(n.RDMAMode, "unknown"))
	}
	b.WriteString("#\n# Rails in the order of their PCI addresses:\n")
	for number, t := range f.rails {
		r := t.first()
		fmt.Fprintf(&b, "#   %d: %s, NUMA node %d", number, comment(r.String()), r.NUMANode)
		if r.MTU > 0 {
			fmt.Fprintf(&b, ", MTU %d", r.MTU)
		}
		if len(r.GPUs) > 0 {
			fmt.Fprintf(&b, ", GPU %s", strings.Join(r.GPUs, " "))
		}
		b.WriteString("\n")
	}
	if out := f.leftOut(); out != "" {
		b.WriteString("#\n# Left out:" + out + "\n")
	}
	if len(f.Differences) > 0 {
		b.WriteString("#\n# Look at:\n")
		for _, d := range f.Differences {
			fmt.Fprintf(&b, "#   %s\n", comment(d))
		}
	}
	return b.String()
}

// leftOut has a line for each NIC that is no rail, with all nodes of which that is
// true.
func (f *Fleet) leftOut() string {
	var order []LeftOut
	nodes := map[LeftOut][]string{}
	for _, n := range f.Nodes {
		for _, out := range n.LeftOut {
			if nodes[out] == nil {
				order = append(order, out)
			}
			nodes[out] = append(nodes[out], n.Name)
		}
	}
	var b strings.Builder
	for _, out := range order {
		on := ""
		if len(f.Nodes) > 1 {
			on = " on " + strings.Join(nodes[out], ", ")
		}
		b.WriteString("\n#   " + comment(out.NIC.String()+on+": "+out.Why))
	}
	return b.String()
}

// comment keeps text on its line. Whoever named a NIC may have put anything there.
func comment(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// resources is the device plugin's configuration.
func (f *Fleet) resources() object {
	return object{
		{"periodicUpdateInterval", 300},
		{"configList", []object{{
			{"resourceName", resourceName},
			{"rdmaHcaMax", len(f.rails)},
			{"selectors", object{{"ifNames", f.netdevs()}}},
		}}},
	}
}

func (f *Fleet) configMap() (string, error) {
	return fmt.Sprintf(`apiVersion: v1
kind: ConfigMap
metadata:
  name: %s
  namespace: %s
data:
  config.json: |
    %s
`, configMapName, namespace, f.resources().json("    ")), nil
}

// A network is a NetworkAttachmentDefinition.
type network struct {
	name   string
	config object
}

func (f *Fleet) networks(a Addressing) (all []network, err error) {
	for i, t := range f.rails {
		number := strconv.Itoa(i + 1)
		key, value, _ := t.selector()
		n := network{"roce-net-" + number, object{
			{"cniVersion", "0.3.1"},
			{"name", "roce-net" + number},
			{"type", "roce-host-device"},
			{key, value},
		}}
		if f.mode() == rdma.Exclusive {
			n.config = append(n.config, field{"rdmaMode", string(rdma.Exclusive)})
		}
		if a.MTU > 0 {
			n.config = append(n.config, field{"mtu", a.MTU})
		}
		if a.oneSubnet() {
			n.config = append(n.config, field{"sourceRouting", true})
		}
		ipam, err := a.ipam(i + 1)
		switch {
		case err != nil:
			return nil, err
		case ipam == nil:
			n.config = append(n.config, field{"keepAddresses", true})
		default:
			n.config = append(n.config, field{"ipam", ipam})
		}
		all = append(all, n)
	}
	return all, nil
}

func manifestsOf(networks []network) string {
	documents := make([]string, len(networks))
	for i, n := range networks {
		documents[i] = fmt.Sprintf(`apiVersion: k8s.cni.cncf.io/v1
kind: NetworkAttachmentDefinition
metadata:
  name: %s
spec:
  config: '%s'
`, n.name, strings.ReplaceAll(n.config.json("  "), "'", "''"))
	}
	return strings.Join(documents, "---\n")
}

// values are those of the Helm chart.
func (f *Fleet) values(networks []network) (string, error) {
	list := make([]object, len(networks))
	for i, n := range networks {
		list[i] = object{{"name", n.name}, {"config", n.config}}
	}
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	err := errors.Join(e.Encode(object{{"config", f.resources()}, {"networks", list}}.yaml()), e.Close())
	return b.String(), err
}

// pod has all of a node's NICs and GPUs.
func (f *Fleet) pod(networks []network) string {
	names := make([]string, len(networks))
	for i, n := range networks {
		names[i] = fmt.Sprintf(`        { "name": %s }`, literal(n.name))
	}
	gpus := ""
	if resource, number := f.gpus(); number > 0 {
		gpus = fmt.Sprintf("        %s: %d\n", resource, number)
	}
	return fmt.Sprintf(`apiVersion: v1
kind: Pod
metadata:
  name: %s
  annotations:
    k8s.v1.cni.cncf.io/networks: |
      [
%s
      ]
spec:
  containers:
  - name: rdma-gpu-container
    image: %s
    command: ["/bin/bash", "-c", "sleep 3600"]
    resources:
      limits:
%s        rdma/%s: %d
`, podName, strings.Join(names, ",\n"), podImage, gpus, resourceName, len(f.rails))
}
