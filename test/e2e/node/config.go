// Package node makes the machine that it runs on a node of a cluster: container
// runtime, pod network, Multus, Whereabouts and kubelet at their usual places.
// The machine is a virtual one of the lab, or namespaces that pass for one.
//
// It knows nothing of what is tested on the node.
package node

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// A Config describes a node. It is the file node.json of the node's folder,
// which the outside prepares and both see.
type Config struct {
	Name string
	// Address of the management interface, mgmt0, with its prefix length; the
	// control plane is at Gateway.
	Address, Gateway string
	// PodSubnet is where the pods' eth0 has its address from.
	PodSubnet string
	// BootID is this life's; empty for the machine's own.
	BootID string
	// NICs are the RoCE NICs of a node in namespaces, in the order of the rails.
	// Empty in the lab: its machines have real ones.
	NICs []NIC
	// ThickMultus: Multus comes as a DaemonSet, and the pod network is without it
	// until then.
	ThickMultus bool
	// Emulated: the processor is slow, and everything has more time.
	Emulated bool
}

// A NIC stands in for a RoCE NIC: a veth end, and an HCA in a stand-in sysfs.
type NIC struct{ Name, MAC string }

// The parts of a node's folder.
const (
	configFile     = "node.json"
	ProgramsFolder = "bin"    // kubelet, containerd, runc …
	PluginsFolder  = "cni"    // the CNI plugins that are there before ours
	ImagesFolder   = "images" // container images, each a tar file
	KeysFolder     = "kube"   // kubeconfigs
	LogsFolder     = "logs"
	StateFolder    = "state" // in namespaces: what a disk keeps
)

// Write writes the configuration into a node's folder.
func (c Config) Write(folder string) error {
	b, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, configFile), b, 0o644)
}

func read(folder string) (Config, error) {
	var c Config
	b, err := os.ReadFile(filepath.Join(folder, configFile))
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil {
		return c, fmt.Errorf("%s: %w", configFile, err)
	}
	return c, nil
}

// inNamespaces: the machine is made of namespaces.
func (c Config) inNamespaces() bool { return len(c.NICs) > 0 }
