package deployments

import (
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const folder = "../../deployments/"

const (
	podCounters    = "overlays/pod-counters"
	memlock        = "overlays/memlock"
	monitoring     = "overlays/monitoring"
	dra            = "overlays/dra"
	draPodCounters = "overlays/dra-pod-counters"
	draMemlock     = "overlays/dra-memlock"
	draMonitoring  = "overlays/dra-monitoring"
)

var variants = []string{"base", "overlays/exclusive", "overlays/cdi", "overlays/per-device", monitoring, podCounters, memlock, dra, draPodCounters, draMemlock, draMonitoring}

// privileges are the capabilities that containers may have, and where.
func privileges(dir, container string) []corev1.Capability {
	switch {
	case container == "rdma-device-plugin":
		return []corev1.Capability{"NET_ADMIN"}
	case container == "counters" && (dir == podCounters || dir == draPodCounters):
		return []corev1.Capability{"SYS_ADMIN"}
	}
	return nil
}

// kustomize is `kubectl kustomize`.
func kustomize(t *testing.T, dir string) objects {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), folder+dir)
	must(t, err)
	manifests, err := resources.AsYaml()
	must(t, err)
	return decode(t, manifests)
}

func daemonSet(t *testing.T, o objects) *appsv1.DaemonSet {
	t.Helper()
	ds, ok := o["DaemonSet kube-system/roce-k8s"].(*appsv1.DaemonSet)
	if !ok {
		t.Fatal("no DaemonSet in kube-system")
	}
	return ds
}

func TestTheDaemonSetHasNoPrivilegeButNetAdminForRescueAndSysAdminWhereAskedFor(t *testing.T) {
	for _, dir := range variants {
		pod := daemonSet(t, kustomize(t, dir)).Spec.Template.Spec
		if pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: host namespaces, token or no seccomp", dir)
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			s := c.SecurityContext
			if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: container %s is privileged: %+v", dir, c.Name, s)
			}
			if add := s.Capabilities.Add; !slices.Equal(add, privileges(dir, c.Name)) {
				t.Errorf("%s: container %s has capabilities %v", dir, c.Name, add)
			}
			if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
				t.Errorf("%s: container %s has no resources", dir, c.Name)
			}
		}
	}
}

// A port of a container on the node's network is a port of the node: the
// scheduler would keep the new instance waiting for the old one's.
func TestAnUpdateNeverLeavesTheNodeWithoutAnInstance(t *testing.T) {
	for _, dir := range variants {
		spec := daemonSet(t, kustomize(t, dir)).Spec
		update := spec.UpdateStrategy.RollingUpdate
		if update.MaxSurge.IntValue() != 1 || update.MaxUnavailable.IntValue() != 0 {
			t.Errorf("%s: surge %s, unavailable %s", dir, update.MaxSurge, update.MaxUnavailable)
		}
		for _, c := range spec.Template.Spec.Containers {
			if len(c.Ports) > 0 {
				t.Errorf("%s: container %s declares ports", dir, c.Name)
			}
			if c.Name == "counters" || c.Name == "memlock" {
				continue // there is nothing that shall keep it from being ready
			}
			// The port of the other instance would answer for this one.
			for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe, c.ReadinessProbe} {
				if probe.Exec == nil || !slices.Contains(c.Args, probe.Exec.Command[2]) {
					t.Errorf("%s: probe %+v is not of the instance's own socket %v", dir, probe, c.Args)
				}
			}
		}
	}
}

// A restart helps against a driver that hangs. It does not help against a
// kubelet that is away or a mistake in the configuration, and would take away
// what is served.
func TestOnlyWhatARestartHelpsRestarts(t *testing.T) {
	for _, dir := range variants {
		c := daemonSet(t, kustomize(t, dir)).Spec.Template.Spec.Containers[0]
		for _, probe := range []*corev1.Probe{c.StartupProbe, c.LivenessProbe} {
			if path := probe.Exec.Command[len(probe.Exec.Command)-1]; path != "/healthz" {
				t.Errorf("%s: %s would restart the container", dir, path)
			}
		}
		if path := c.ReadinessProbe.Exec.Command[3]; path != "/readyz" {
			t.Errorf("%s: ready is %s", dir, path)
		}
	}
}

// The kernel removes /dev/infiniband with the modules; a container that mounts
// it keeps a dead folder. What it mounts instead it can only look at.
func TestTheMountOfDevicesOutlivesADriverThatIsLoadedAgain(t *testing.T) {
	for _, dir := range variants {
		pod := daemonSet(t, kustomize(t, dir)).Spec.Template.Spec
		mounts := map[string]corev1.VolumeMount{}
		for _, m := range pod.Containers[0].VolumeMounts {
			mounts[m.Name] = m
		}
		found := false
		for _, v := range pod.Volumes {
			if v.HostPath == nil || !strings.HasPrefix(v.HostPath.Path, "/dev") {
				continue
			}
			m := mounts[v.Name]
			found = v.HostPath.Path == "/dev" && m.MountPath == "/host/dev"
			if !m.ReadOnly || m.RecursiveReadOnly == nil || *m.RecursiveReadOnly != corev1.RecursiveReadOnlyIfPossible || m.MountPropagation != nil {
				t.Errorf("%s: %s can be written to below %+v", dir, v.HostPath.Path, m)
			}
		}
		if !found {
			t.Errorf("%s: /dev is not mounted where the plugin looks", dir)
		}
	}
}

func TestOverlaysChangeWhatTheirNamesSay(t *testing.T) {
	base := kustomize(t, "base")
	exclusive := kustomize(t, "overlays/exclusive")
	networks := all[*network](exclusive)
	if len(networks) != 8 {
		t.Errorf("exclusive: %d networks", len(networks))
	}
	for name := range networks {
		delete(exclusive, name)
	}
	same(t, exclusive, base)

	cdi := daemonSet(t, kustomize(t, "overlays/cdi")).Spec.Template.Spec
	plugin := cdi.Containers[0]
	mounted := slices.ContainsFunc(plugin.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == "/var/run/cdi" && !m.ReadOnly })
	if !slices.Contains(plugin.Args, "--use-cdi") || !mounted {
		t.Errorf("cdi: args %v, mounts %v", plugin.Args, plugin.VolumeMounts)
	}

	perDevice := kustomize(t, "overlays/per-device")
	const config = "ConfigMap kube-system/rdma-devices"
	if !strings.Contains(perDevice[config].(*corev1.ConfigMap).Data["config.json"], `"mode": "perDevice"`) {
		t.Error("per-device: the mode is another")
	}
	perDevice[config] = base[config]
	same(t, perDevice, base)
}

// The privileged container shares one folder with the other one, and has a way
// to neither its probes, nor to write to the node.
func TestTheContainerThatMayEnterNamespacesSeesAsLittleAsPossible(t *testing.T) {
	for name, ds := range map[string]*appsv1.DaemonSet{
		"with the device plugin": daemonSet(t, kustomize(t, podCounters)), "with the driver": draDaemonSet(t, kustomize(t, draPodCounters)),
	} {
		pod := ds.Spec.Template.Spec
		program, counters := pod.Containers[0], pod.Containers[len(pod.Containers)-1]
		if counters.Name != "counters" {
			t.Fatalf("%s: containers %v", name, pod.Containers)
		}
		socket := program.Args[len(program.Args)-1]
		if !strings.HasPrefix(socket, "--counters-socket=") || !slices.Contains(counters.Args, socket) {
			t.Errorf("%s: one asks at %s, the other serves %v", name, socket, counters.Args)
		}
		namespaces := map[string]bool{} // where records say that they are
		for _, m := range counters.VolumeMounts {
			namespaces[m.MountPath] = m.Name == "netns"
			switch {
			case m.Name == "counters" && !m.ReadOnly:
			case m.Name == "state" && m.ReadOnly:
			case m.Name == "netns" && m.ReadOnly && m.MountPropagation != nil && *m.MountPropagation == corev1.MountPropagationHostToContainer:
			default:
				t.Errorf("%s: it mounts %+v", name, m)
			}
		}
		if !namespaces["/var/run/netns"] || !namespaces["/run/netns"] {
			t.Errorf("%s: it does not see all namespaces: %+v", name, counters.VolumeMounts)
		}
	}
}

// Whoever may talk to the runtime's NRI may change every container. The program
// that does has nothing else.
func TestTheContainerThatRaisesMemlockLimitsSeesTheRuntimesSocketAlone(t *testing.T) {
	for name, ds := range map[string]*appsv1.DaemonSet{
		"with the device plugin": daemonSet(t, kustomize(t, memlock)), "with the driver": draDaemonSet(t, kustomize(t, draMemlock)),
	} {
		pod := ds.Spec.Template.Spec
		program, raiser := pod.Containers[0], pod.Containers[len(pod.Containers)-1]
		if raiser.Name != "memlock" {
			t.Fatalf("%s: containers %v", name, pod.Containers)
		}
		if socket := program.Args[len(program.Args)-1]; !strings.HasPrefix(socket, "--memlock-socket=") || !slices.Contains(raiser.Args, socket) {
			t.Errorf("%s: one asks at %s, the other serves %v", name, socket, raiser.Args)
		}
		for _, c := range pod.Containers[:len(pod.Containers)-1] {
			for _, m := range c.VolumeMounts {
				if m.Name == "nri" || m.Name == "memlock" && !m.ReadOnly {
					t.Errorf("%s: container %s mounts %+v", name, c.Name, m)
				}
			}
		}
		for _, m := range raiser.VolumeMounts {
			// A mount of the socket itself would be of one that is dead, after the
			// runtime has started again.
			if (m.Name != "nri" || m.MountPath != "/var/run/nri" || !m.ReadOnly) && (m.Name != "memlock" || m.ReadOnly) {
				t.Errorf("%s: it mounts %+v", name, m)
			}
		}
	}
}
