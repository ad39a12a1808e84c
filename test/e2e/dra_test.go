package e2e_test

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// What the driver is called, in Kubernetes and on a node.
const (
	driverName      = "roce-k8s.io"
	driverDaemonSet = "roce-k8s-dra"
	driverProcess   = `^/rdma-dra-driver( --|$)`
	chainProcess    = `^/rdma-dra-driver chain`
)

// serveBy has nodes served by the driver, or by the device plugin.
func (s *site) serveBy(what string, nodes ...*cluster.Node) {
	s.Helper()
	for _, n := range nodes {
		s.kubectl("label", "node", n.Name, "--overwrite", "roce-k8s.io/allocation="+what)
	}
}

const (
	driver = "dra"
	plugin = "device-plugin" // anything else
)

// chained tells whether the node's network has the CNI plugin in its list, or, if it
// must not, has not. A thick Multus reads the network's own file, a thin one what its
// own has of it.
func (s *site) chained(n *cluster.Node, want bool) error {
	s.Helper()
	out := s.on(n, "if grep -q multus-shim "+conf+"; then cat /etc/cni/net.d/*.conflist; else cat "+conf+"; fi")
	if strings.Contains(out, `"claims": true`) != want {
		return fmt.Errorf("%s, where the chain is to be %v, has the network %s", n.Name, want, out)
	}
	return nil
}

// conf is where a node's network is described.
const conf = "/etc/cni/net.d/00-multus.conf"

// unchain takes the plugin out of it.
const unchain = `sed -i 's/,[^,]*{"type": "roce-host-device", "claims": true}//' ` + conf

// An offer is a device in a ResourceSlice.
type offer struct {
	Name       string
	Attributes map[string]struct {
		String *string
		Int    *int
	}
	Taints []struct{ Key, Effect string }
}

func (o offer) text(attribute string) string {
	if v := o.Attributes[attribute]; v.String != nil {
		return *v.String
	}
	return ""
}

// has tells whether the device has a taint.
func (o offer) has(taint string) bool {
	return slices.ContainsFunc(o.Taints, func(t struct{ Key, Effect string }) bool { return t.Key == taint })
}

// offered are the devices that the slices of a node have.
func (s *site) offered(n *cluster.Node) (all []offer, err error) {
	out, err := s.Kubectl(s.context(), "get", "resourceslices", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Spec struct {
				Driver, NodeName string
				Devices          []offer
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	for _, slice := range list.Items {
		if slice.Spec.Driver == driverName && slice.Spec.NodeName == n.Name {
			all = append(all, slice.Spec.Devices...)
		}
	}
	return all, nil
}

// awaitOffered waits until a node offers so many devices, none of them with a taint.
func (s *site) awaitOffered(n *cluster.Node, want int) {
	s.Helper()
	s.eventually(func() error {
		all, err := s.offered(n)
		if err != nil {
			return err
		}
		sound := slices.DeleteFunc(slices.Clone(all), func(o offer) bool { return len(o.Taints) > 0 })
		if len(sound) != want {
			return fmt.Errorf("%s offers %d sound devices of %d, want %d", n.Name, len(sound), len(all), want)
		}
		return nil
	})
}

// A claiming pod gets its NICs by claims, or by the extended resource, from the
// scheduler.
type claiming struct {
	name, node string
	templates  []string // of claims
	units      int      // of the extended resource
	command    string   // in place of a long sleep
	more       string   // further lines of the spec
}

func (p claiming) manifest() string {
	var claims, uses []string
	for i, template := range p.templates {
		claims = append(claims, fmt.Sprintf("{name: nics%d, resourceClaimTemplateName: %s}", i, template))
		uses = append(uses, fmt.Sprintf("{name: nics%d}", i))
	}
	limits := ""
	if p.units > 0 {
		limits = fmt.Sprintf("%s: %d", resource, p.units)
	}
	command := p.command
	if command == "" {
		command = "sleep 3600"
	}
	return fmt.Sprintf(`
apiVersion: v1
kind: Pod
metadata: {name: %s}
spec:
  nodeSelector: {kubernetes.io/hostname: %s}
  resourceClaims: [%s]
  containers:
    - name: rdma-tools
      image: ghcr.io/roce-k8s/rdma-tools:1.0.0
      command: [/bin/bash, -c, %q]
      resources: {limits: {%s}, claims: [%s]}
%s`, p.name, p.node, strings.Join(claims, ", "), command, limits, strings.Join(uses, ", "), p.more)
}

// claim starts pods and waits until they are ready.
func (s *site) claim(pods ...claiming) {
	s.Helper()
	for _, p := range pods {
		s.apply(p.manifest())
	}
	for _, p := range pods {
		s.awaitPods(p.name)
	}
}

// template makes a template of claims with one request of so many devices, all that
// an expression of CEL is true of; "" is true of all.
func (s *site) template(name string, count int, expression string) {
	s.Helper()
	selectors := ""
	if expression != "" {
		selectors = fmt.Sprintf("selectors: [{cel: {expression: %q}}]", expression)
	}
	s.apply(fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: %s}
spec:
  spec:
    devices:
      requests:
        - name: nics
          exactly: {deviceClassName: roce-k8s.io, count: %d, %s}
`, name, count, selectors))
}

// claimed are the interfaces that a pod has by its claims, each with an address.
func (s *site) claimed(pod string) []string {
	s.Helper()
	out, err := s.exec(pod, "ip", "-o", "-4", "addr", "show", "up")
	s.must(err)
	var names []string
	for _, match := range regexp.MustCompile(`(?m)^\d+: (rail\d+) +inet 172\.31\.`).FindAllStringSubmatch(out, -1) {
		names = append(names, match[1])
	}
	return names
}

// expectClaimed checks that a pod has so many NICs with addresses by its claims, and
// the character devices of as many, and that the claims say so.
func (s *site) expectClaimed(pod string, want int) {
	s.Helper()
	if names := s.claimed(pod); len(names) != want {
		s.Errorf("%s has %v, want %d NICs", pod, names, want)
	}
	devices := s.openDevices(pod)
	uverbs := slices.DeleteFunc(slices.Clone(devices), func(name string) bool { return !strings.HasPrefix(name, "uverbs") })
	if len(uverbs) != want || !slices.Contains(devices, "rdma_cm") {
		s.Errorf("%s can open %v, want the devices of %d NICs", pod, devices, want)
	}
	s.eventually(func() error {
		said, err := s.said(pod)
		if err == nil && len(said) != want {
			err = fmt.Errorf("the claims of %s say that it has %v, want %d NICs", pod, said, want)
		}
		return err
	})
}

// said are the interfaces that a pod has as its claims say, each with an address.
func (s *site) said(pod string) (names []string, err error) {
	out, err := s.Kubectl(s.context(), "get", "resourceclaims", "-o", "json")
	if err != nil {
		return nil, err
	}
	var list struct {
		Items []struct {
			Status struct {
				ReservedFor []struct{ Name string }
				Devices     []struct {
					NetworkData struct {
						InterfaceName string
						IPs           []string
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return nil, err
	}
	for _, claim := range list.Items {
		if len(claim.Status.ReservedFor) != 1 || claim.Status.ReservedFor[0].Name != pod {
			continue
		}
		for _, d := range claim.Status.Devices {
			if len(d.NetworkData.IPs) > 0 {
				names = append(names, d.NetworkData.InterfaceName)
			}
		}
	}
	return names, nil
}

// expectNothingLeft waits until all NICs are back, and nothing is left of claims.
func (s *site) expectNothingLeft() {
	s.Helper()
	s.expectAllBack()
	for _, n := range s.nodes {
		s.eventually(func() error {
			const look = `find /var/lib/cni/roce-host-device/claims /var/run/cdi /var/lib/cni/networks -name '172.31.*' -o -name '*.json' 2>/dev/null || true`
			if left := s.on(n, look); left != "" {
				return fmt.Errorf("left on %s: %s", n.Name, left)
			}
			return nil
		})
	}
	s.eventually(func() error {
		if claims := s.kubectl("get", "resourceclaims", "-A", "-o", "name"); claims != "" {
			return fmt.Errorf("left: %s", claims)
		}
		return nil
	})
}

// hold has a CNI plugin of a node wait in one command for the interfaces of a name
// until release is called; held waits until it does.
func (s *site) hold(n *cluster.Node, plugin, command, ifName string) (held, release func()) {
	s.Helper()
	s.on(n, fmt.Sprintf(`cd /opt/cni/bin; mv %[1]s .%[1]s; rm -f /run/held; touch /run/hold
cat >%[1]s <<'EOF'
#!/bin/bash
if [[ $CNI_COMMAND == %[2]s && $CNI_IFNAME == %[3]s ]]; then
	touch /run/held
	while [[ -e /run/hold ]]; do sleep 0.05; done
fi
exec /opt/cni/bin/.%[1]s
EOF
chmod +x %[1]s`, plugin, command, ifName))
	held = func() {
		s.Helper()
		s.eventually(func() error { _, err := n.Run(s.context(), "test -e /run/held"); return err })
	}
	release = func() {
		s.Helper()
		s.on(n, fmt.Sprintf("cd /opt/cni/bin; rm -f /run/hold; mv .%[1]s %[1]s", plugin))
	}
	return held, release
}

// killDriver kills the driver on a node, and returns at once.
func (s *site) killDriver(n *cluster.Node) {
	s.Helper()
	s.on(n, "pkill -KILL -f '"+driverProcess+"'")
}

// awaitEvent waits until an event of a pod says something.
func (s *site) awaitEvent(pod, text string) {
	s.Helper()
	s.eventually(func() error {
		out, err := s.Kubectl(s.context(), "get", "events", "--field-selector", "involvedObject.name="+pod, "-o", `jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}`)
		if err == nil && !strings.Contains(out, text) {
			err = fmt.Errorf("no event of %s says %q:\n%s", pod, text, out)
		}
		return err
	})
}

// expectPending checks that the scheduler finds no node for a pod.
func (s *site) expectPending(pod string) {
	s.Helper()
	s.awaitEvent(pod, "FailedScheduling: ")
	if node := s.kubectl("get", "pod", pod, "-o", "jsonpath={.spec.nodeName}"); node != "" {
		s.Errorf("%s is on %s", pod, node)
	}
}
