package doctor

// A Severity says what a finding does to the exit status.
type Severity string

const (
	// Broken keeps pods from starting, or a NIC from carrying data.
	Broken Severity = "broken"
	// Warning costs bandwidth, or will cost something later.
	Warning Severity = "warning"
)

// A check is one thing to look at.
type check struct {
	id       string
	severity Severity
	looksAt  string
	cost     string
	// remedy is a command where there is one, and for people what follows its first
	// comma. {} stands for what the symptom is about.
	remedy string
	// find lists what is wrong. An error means that it cannot be seen from here,
	// which is not a finding.
	find func(*patient) ([]symptom, error)
}

// A symptom is what a check finds in one place.
type symptom struct {
	where, what string
	about       string // for the remedy's {}, if it is not where
}

// complaint is an error as a symptom; without one it is none.
func complaint(where string, err error) []symptom {
	if err == nil {
		return nil
	}
	return []symptom{{where: where, what: err.Error()}}
}

// checks are all of them, within a severity in the order in which to mend.
func checks() []check {
	return []check{
		{"modules", Broken, "the kernel's RDMA modules",
			"no RDMA program starts", "modprobe {}", modules},
		{"rails", Broken, "whether there is any RDMA device to look at",
			"the node offers nothing", "load the RDMA half of the NICs' driver (mlx5_ib, bnxt_re, irdma); rdma-device-plugin explain", noRails},
		{"rdma-mode", Broken, "the RDMA mode against what the networks require",
			"no pod of these networks starts", "echo 'options ib_core netns_mode={}' > /etc/modprobe.d/roce-k8s.conf, build the initramfs anew, reboot", mode},
		{"gone", Broken, "whether the hardware of a rail that was there in this boot still is",
			"the pod that has it hangs, and its unit is unhealthy", "lspci -s {}; dmesg, and if it is out for good: rdma-device-plugin forget", gone},
		{"port", Broken, "state of each rail's port",
			"pods get a NIC that carries nothing", "ethtool {}, then cable, transceiver and switch port", ports},
		{"gid", Broken, "whether an active rail has a RoCE v2 GID",
			"no connection over routed RoCE", "devlink dev param set pci/{} name enable_roce value true cmode driverinit; devlink dev reload pci/{}", gids},
		{"cni-plugin", Broken, "the CNI plugin, and those that the networks name, in the folder of CNI plugins",
			"no pod of the networks starts", "ls -l {}; kubectl -n kube-system rollout restart ds/roce-k8s", pluginFolder},
		{"policy", Broken, "the node's policy file",
			"no pod gets a NIC", "roce-host-device validate", policyFile},
		{"network-config", Broken, "whether the networks can be read",
			"no pod of the network starts", "kubectl edit net-attach-def -n $(dirname {}) $(basename {})", networkConfigs},
		{"journal", Broken, "whether the journal of attachments can be read",
			"no pod gets a NIC, and NICs in pods are unknown", "ls -ld {}", journal},

		{"rdma-mode-boot", Warning, "who sets the RDMA mode when the node boots, against the mode now",
			"a reboot changes the mode, and networks that require the other one stop working", "set 'options ib_core netns_mode={}' in one file of /etc/modprobe.d, and build the initramfs anew; or reboot into the other mode", modeAtBoot},
		{"down", Warning, "whether each rail is set up",
			"nobody sees a dead link before a pod does", "ip link set {} up", down},
		{"mtu", Warning, "the RoCE packet that fits the netdev's MTU: `active_mtu`",
			"more packets for the same data, so less bandwidth", "ip link set {} mtu 9000, and at least 4200 on every switch port between", mtu},
		{"pcie", Warning, "width and speed of the PCIe link against what the NIC can do",
			"the NIC is slower than its port", "lspci -vv -s {}, for LnkCap and LnkSta; seat it anew, or use another slot or riser", pcie},
		{"numa", Warning, "whether the firmware says on which NUMA node a rail is",
			"NICs are given to pods on the far side of the CPU link", "cat /sys/bus/pci/devices/{}/numa_node, and update the BIOS, or turn on NUMA (NPS, SNC) there", numa},
		{"topology", Warning, "the kubelet's Topology Manager, on a node with rails on several NUMA nodes",
			"NICs and GPUs of a pod are on different NUMA nodes", "set topologyManagerPolicy: restricted in {}; systemctl restart kubelet", topology},
		{"acs", Warning, "whether ACS redirects peer-to-peer traffic above a rail, on a node with GPUs",
			"GPUDirect goes through the root complex, or fails", "setpci -s {} ECAP_ACS+6.w=0000, at each boot, unless the node has virtual machines with devices", acs},
		{"iommu", Warning, "whether the IOMMU translates for rails and GPUs, on a node with GPUs",
			"GPUDirect goes through the IOMMU, at a fraction of the bandwidth", "boot with iommu=pt on the kernel's command line", iommu},
		{"gpudirect", Warning, "nvidia_peermem, or a driver with dma-buf, on a node with NVIDIA GPUs",
			"data goes through the host's memory", "modprobe nvidia_peermem, or install the open kernel modules", gpuDirect},
		{"pfc", Warning, "whether a rail has a lossless priority",
			"bandwidth collapses when the fabric is busy", "dcb pfc set dev {} prio-pfc 3:on, as the switches have it", pfc},
		{"trust", Warning, "whether packets get into the lossless priority by their DSCP",
			"no packet is lossless: without a VLAN tag only the DSCP says its priority", "dcb app add dev {} dscp-prio 26:3", trust},
		{"ets", Warning, "whether the lossless priority has a traffic class to itself, with bandwidth",
			"a pause stops other traffic as well, or RoCE starves", "dcb ets set dev {} prio-tc 0:0 1:1 2:2 3:3 4:4 5:5 6:6 7:7", ets},
		{"dcb-differs", Warning, "whether all rails have the same lossless priorities and DSCPs",
			"a collective is as slow as its worst rail", "dcb pfc show dev {}; dcb app show dev {}", dcbDiffers},
		{"ecn", Warning, "ECN for the lossless priority, where the driver has it in sysfs",
			"congestion is met by pauses alone, which spread", "for f in /sys/class/net/{}; do echo 1 > $f; done", ecn},
		{"firmware", Warning, "whether boards of one kind have one firmware",
			"rails behave differently, in ways that are hard to find", "devlink dev info pci/{}; devlink dev flash pci/{} file FIRMWARE", firmware},
		{"counters", Warning, "counters of losses that grew since the run before",
			"what was lost is sent again, and the others of a collective wait", "ethtool -S {}, then cable, transceiver, PFC and ECN on the way", counters},
		{"memlock", Warning, "how much memory a container may lock",
			"RDMA programs without IPC_LOCK fail with `Cannot allocate memory`", "kubectl apply -k deployments/overlays/memlock, or memlock.enabled of the chart, for containers with RDMA; LimitMEMLOCK=infinity in {}'s unit for all", memlock},
		{"memlock-plugin", Warning, "whether the container runtime asks the memlock plugin, where there shall be one",
			"containers with RDMA start with the runtime's own limit", "kubectl -n kube-system logs -l app.kubernetes.io/name=roce-k8s -c memlock, and turn on NRI in the runtime: docs/deploying.md", memlockPlugin},
		{"network-manager", Warning, "NetworkManager's settings for rails",
			"a NIC comes back from its pod late, or with other metrics", "write rails.conf of docs/deploying.md; systemctl reload NetworkManager", networkManager},
		{"cni-version", Warning, "the version of the CNI plugin against that of this program",
			"a fix that the changelog has is not there", "kubectl -n kube-system rollout restart ds/roce-k8s", pluginVersion},
		{"networks", Warning, "whether the NICs that the networks name are on this node",
			"pods of the network do not start here", "ip -br link; kubectl edit net-attach-def -n $(dirname {}) $(basename {}), or keep its pods off this node", missingNICs},
		{"leftovers", Warning, "what crashes and pods without a DEL left in the journal",
			"a NIC may stay without its state", "ls -l {}; kubectl -n kube-system logs -l app.kubernetes.io/name=roce-k8s", leftovers},
		{"owed", Warning, "NICs that are back on the host, but not as they were",
			"the NIC lacks its name, addresses or routes", "ip link show {}, and another link with its name has to go", owed},
	}
}
