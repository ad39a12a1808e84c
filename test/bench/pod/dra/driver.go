package main

import (
	"fmt"
	"os"
	"strings"
)

// A driver is one of the two that are compared.
type driver struct {
	title  string
	serves string // the value of the label by which it serves a node
	name   string // in Kubernetes
	// What its class is true of, and what the class configures.
	selector, parameters string
	pods                 string // by label, those of its DaemonSet
	process              string // its command line, as pgrep matches it
	beside               string // the other containers of the pod, so
}

// allocation is the label of a node that says which driver serves it.
const allocation = "roce-k8s.io/allocation"

// drivers are ours and DRANET. Both give a pod all that the host has of a NIC.
func drivers() (ours, theirs driver) {
	ours = driver{
		title: "rdma-dra-driver", serves: "dra", name: "roce-k8s.io", selector: `device.driver == "roce-k8s.io"`,
		parameters: `{rdma: none, keepAddresses: true}`, pods: "app.kubernetes.io/name=roce-k8s-dra",
		process: `^/rdma-dra-driver( --|$)`, beside: `^/rdma-dra-driver chain|^/rdma-device-plugin rescue`,
	}
	// As in its examples.
	theirs = driver{
		title: "DRANET", serves: "dranet", name: "dra.net", selector: `device.driver == "dra.net" && device.attributes["dra.net"].rdma`,
		pods: "app=dranet", process: `^/dranet`,
	}
	return ours, theirs
}

// manifests are the driver's class, and a template of claims for eight NICs. Both
// have the name of the label's value.
func (d driver) manifests() string {
	config := ""
	if d.parameters != "" {
		config = fmt.Sprintf("config: [{opaque: {driver: %s, parameters: %s}}]", d.name, d.parameters)
	}
	return fmt.Sprintf(`
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: bench-%[1]s}
spec:
  selectors: [{cel: {expression: '%[2]s'}}]
  %[3]s
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: bench-%[1]s}
spec: {spec: {devices: {requests: [{name: nics, exactly: {deviceClassName: bench-%[1]s, allocationMode: ExactCount, count: %[4]d}}]}}}
`, d.serves, d.selector, config, rails)
}

// pod is a pod with eight NICs of a driver, or, of none, without.
func (d driver) pod(name, node string) map[string]any {
	container := map[string]any{"name": "pause", "image": "localhost/pause:1"}
	spec := map[string]any{
		"nodeSelector": map[string]any{"kubernetes.io/hostname": node},
		// A volume less to wait for; that it is all the same to the NICs.
		"automountServiceAccountToken": false,
		"containers":                   []any{container},
	}
	if d.serves != "" {
		spec["resourceClaims"] = []any{map[string]any{"name": "nics", "resourceClaimTemplateName": "bench-" + d.serves}}
		container["resources"] = map[string]any{"claims": []any{map[string]any{"name": "nics"}}}
	}
	return map[string]any{"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"name": name}, "spec": spec}
}

// dranetManifest is that of its authors, with what this cluster makes necessary: the
// stand-in sysfs in the place of the kernel's; the NICs are veths, which its usual
// filter leaves out; there is no cloud to ask; and it serves nodes with the label only.
func dranetManifest(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	manifest := string(b)
	for _, change := range [][2]string{
		{"      hostNetwork: true\n", fmt.Sprintf("      hostNetwork: true\n      nodeSelector: {%s: dranet}\n", allocation)},
		{"        - --hostname-override=$(NODE_NAME)\n", "        - --hostname-override=$(NODE_NAME)\n" +
			"        - --cloud-provider-hint=NONE\n        - '--filter=\"dra.net/pciAddress\" in attributes'\n"},
		{"        volumeMounts:\n", "        volumeMounts:\n        - {name: sys, mountPath: /sys}\n"},
		{"      volumes:\n", "      volumes:\n      - {name: sys, hostPath: {path: /sys}}\n"},
	} {
		if strings.Count(manifest, change[0]) != 1 {
			return "", fmt.Errorf("%s has not one %q", file, change[0])
		}
		manifest = strings.Replace(manifest, change[0], change[1], 1)
	}
	return manifest, nil
}
