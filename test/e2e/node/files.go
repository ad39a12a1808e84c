package node

import (
	"fmt"
	"path/filepath"
	"strings"
)

// Where everything is on a node.
const (
	cniPlugins       = "/opt/cni/bin"
	cniConfig        = "/etc/cni/net.d"
	containerdConfig = "/etc/containerd/config.toml"
	kubeletConfig    = "/var/lib/kubelet/config.yaml"
	mirrors          = "/etc/containerd/certs.d"
	containersSpec   = "/etc/containerd/spec.json"
)

// RegistryPort is where the control plane's registry answers, if there is one.
const RegistryPort = 5000

// mirrorTOML sends whoever asks for an image of a registry to the control plane's.
func (n *node) mirrorTOML() string {
	return fmt.Sprintf("server = \"http://%s:%d\"\n", n.Gateway, RegistryPort)
}

// files are the configuration files of the node, by path.
func (n *node) files() map[string]string {
	network, networkFile := n.multusJSON(), "00-multus.conf"
	if n.ThickMultus {
		network, networkFile = fmt.Sprintf("{%s}\n", n.podNetwork()), "10-pods.conflist"
	}
	return map[string]string{
		containerdConfig:                n.containerdTOML(),
		mirrors + "/ghcr.io/hosts.toml": n.mirrorTOML(),
		kubeletConfig:                   n.kubeletYAML(),
		// Whereabouts finds its flat file by itself, as in the guide, and the
		// kubeconfig there.
		cniConfig + "/whereabouts.d/whereabouts.conf": n.whereaboutsJSON(),
		filepath.Join(cniConfig, networkFile):         network,
	}
}

// containerdTOML is for the containerd that is installed: its default
// configuration says which format it reads.
func (n *node) containerdTOML() string {
	config := containerd2
	if run("containerd config default | grep -q '^version = 2'") == nil {
		config = containerd1
	}
	if n.inNamespaces() {
		const runc = "  runtime_type = 'io.containerd.runc.v2'\n"
		config = strings.Replace(config, runc, runc+"  base_runtime_spec = '"+containersSpec+"'\n", 1)
	}
	return config
}

const containerd1 = `version = 2
[plugins.'io.containerd.grpc.v1.cri']
  sandbox_image = 'localhost/pause:1'
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
  enable_cdi = true
[plugins.'io.containerd.grpc.v1.cri'.registry]
  config_path = '` + mirrors + `'
[plugins.'io.containerd.grpc.v1.cri'.cni]
  bin_dir = '` + cniPlugins + `'
  conf_dir = '` + cniConfig + `'
[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = false
`

const containerd2 = `version = 3
[plugins.'io.containerd.cri.v1.images'.pinned_images]
  sandbox = 'localhost/pause:1'
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  disable_apparmor = true
  enable_unprivileged_ports = false
  enable_unprivileged_icmp = false
  enable_cdi = true
[plugins.'io.containerd.cri.v1.images'.registry]
  config_path = '` + mirrors + `'
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = ['` + cniPlugins + `']
  conf_dir = '` + cniConfig + `'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
  runtime_type = 'io.containerd.runc.v2'
[plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
  SystemdCgroup = false
[plugins.'io.containerd.nri.v1.nri']
  disable = false
`

func (n *node) kubeletYAML() string {
	patience, status := "2m", "2s"
	if n.Emulated {
		patience, status = "15m", "5s"
	}
	return fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
readOnlyPort: 0
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
runtimeRequestTimeout: %s
makeIPTablesUtilChains: false
resolvConf: ""
volumePluginDir: /var/lib/kubelet/volume-plugins
evictionHard: {memory.available: "10Mi", nodefs.available: "1%%", imagefs.available: "1%%"}
nodeStatusUpdateFrequency: %s
`, patience, status)
}

func (n *node) multusJSON() string {
	return fmt.Sprintf(`{
  "cniVersion": "1.0.0", "name": "multus-cni-network", "type": "multus", "kubeconfig": %q, "logLevel": "error", "logFile": %q,
  "delegates": [{%s}]
}
`, n.path(KeysFolder, "multus.kubeconfig"), n.path(LogsFolder, "multus"), n.podNetwork())
}

// podNetwork is what a network's list says, without the brackets.
func (n *node) podNetwork() string {
	return fmt.Sprintf(`"cniVersion": "1.0.0", "name": "pods", "plugins": [{
    "type": "bridge", "bridge": "cni0", "isGateway": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]`, n.PodSubnet)
}

// whereaboutsJSON is the flat file. Where the processor is slow its lease must
// not be renewed within the time that one call takes: a release that meets a
// renewal fails, and the next call then waits for the lease's end.
func (n *node) whereaboutsJSON() string {
	lease := ""
	if n.Emulated {
		lease = `, "leader_lease_duration": 10000, "leader_renew_deadline": 8000, "leader_retry_period": 4000`
	}
	return fmt.Sprintf(`{"datastore": "kubernetes", "kubernetes": {"kubeconfig": %q}, "log_file": %q, "log_level": "error"%s}
`, n.path(KeysFolder, "whereabouts.kubeconfig"), n.path(LogsFolder, "whereabouts"), lease)
}
