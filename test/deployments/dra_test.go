package deployments

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
)

const allocation = "roce-k8s.io/allocation"

var draVariants = []string{dra, draPodCounters, draMemlock, draMonitoring}

func draDaemonSet(t *testing.T, o objects) *appsv1.DaemonSet {
	t.Helper()
	ds, ok := o["DaemonSet kube-system/roce-k8s-dra"].(*appsv1.DaemonSet)
	if !ok {
		t.Fatal("no DaemonSet of the driver")
	}
	return ds
}

func TestTheDriversPodHasNoPrivilegeAndOneTokenInOneContainer(t *testing.T) {
	for _, dir := range draVariants {
		pod := draDaemonSet(t, kustomize(t, dir)).Spec.Template.Spec
		if pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken || pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: host namespaces, a token for all, or no seccomp", dir)
		}
		// What each may write to on the node, and nothing else.
		writes := map[string]string{
			"install-policy": "cni-etc", "install-cni": "cni-bin", "driver": "cdi plugins plugins-registry state", "chain": "cni-conf", "rescue": "state", "counters": "counters", "memlock": "memlock",
		}
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			s := c.SecurityContext
			if s.Privileged != nil || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s: container %s is privileged: %+v", dir, c.Name, s)
			}
			want := privileges(dir, c.Name)
			if c.Name == "rescue" {
				want = []corev1.Capability{"NET_ADMIN"}
			}
			if !slices.Equal(s.Capabilities.Add, want) {
				t.Errorf("%s: container %s has capabilities %v", dir, c.Name, s.Capabilities.Add)
			}
			if c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() || len(c.Ports) > 0 {
				t.Errorf("%s: container %s has no resources, or ports", dir, c.Name)
			}
			var writable []string
			for _, m := range c.VolumeMounts {
				if !m.ReadOnly {
					writable = append(writable, m.Name)
				}
				if m.Name == "token" && c.Name != "driver" {
					t.Errorf("%s: container %s has a token", dir, c.Name)
				}
			}
			slices.Sort(writable)
			if got := strings.Join(writable, " "); got != writes[c.Name] {
				t.Errorf("%s: container %s may write to %s", dir, c.Name, got)
			}
		}
	}
}

// The label decides: a node has one of the two, and each node has one.
func TestANodeOffersItsNICsOneWay(t *testing.T) {
	o := kustomize(t, dra)
	terms := daemonSet(t, o).Spec.Template.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	if len(terms) != 1 || len(terms[0].MatchExpressions) != 1 {
		t.Fatalf("%+v", terms)
	}
	if e := terms[0].MatchExpressions[0]; e.Key != allocation || e.Operator != corev1.NodeSelectorOpNotIn || !slices.Equal(e.Values, []string{"dra"}) {
		t.Errorf("the device plugin is on nodes with %+v", e)
	}
	if s := draDaemonSet(t, o).Spec.Template.Spec.NodeSelector; s[allocation] != "dra" {
		t.Errorf("the driver is on nodes with %v", s)
	}
}

func TestTheDriverAsksForLittleAndWritesItsOwnNodesSlices(t *testing.T) {
	o := kustomize(t, dra)
	role := all[*rbacv1.ClusterRole](o)["ClusterRole /roce-k8s-dra"]
	got := map[string]string{}
	for _, r := range role.Rules {
		got[strings.Join(r.Resources, " ")+strings.Join(r.ResourceNames, " ")] = strings.Join(r.Verbs, " ")
	}
	want := map[string]string{
		"nodes": "get", "resourceclaims": "get", "resourceclaims/status": "update", "resourceclaims/driverroce-k8s.io": "associated-node:update",
		"resourceslices": "list watch create update delete",
	}
	if !maps.Equal(got, want) {
		t.Errorf("%v\nwant %v", got, want)
	}
	account := draDaemonSet(t, o).Spec.Template.Spec.ServiceAccountName
	binding := all[*rbacv1.ClusterRoleBinding](o)["ClusterRoleBinding /roce-k8s-dra"]
	if s := binding.Subjects; len(s) != 1 || s[0].Name != account || s[0].Namespace != "kube-system" || binding.RoleRef.Name != role.Name {
		t.Errorf("%+v", binding)
	}
	policy := all[*admissionv1.ValidatingAdmissionPolicy](o)["ValidatingAdmissionPolicy /roce-k8s-dra"].Spec
	if c := policy.MatchConditions; len(c) != 1 || !strings.Contains(c[0].Expression, `"system:serviceaccount:kube-system:`+account+`"`) || *policy.FailurePolicy != admissionv1.Fail {
		t.Errorf("the policy is for others: %+v", c)
	}
	bound := all[*admissionv1.ValidatingAdmissionPolicyBinding](o)["ValidatingAdmissionPolicyBinding /roce-k8s-dra"].Spec
	if bound.PolicyName != "roce-k8s-dra" || !slices.Equal(bound.ValidationActions, []admissionv1.ValidationAction{admissionv1.Deny}) {
		t.Errorf("%+v", bound)
	}
}

func TestTheGuidesPodsGetTheirNICsByTheClass(t *testing.T) {
	for text, want := range map[string]string{"{enabled: true}": "rdma/hca_gpu", `{enabled: true, extendedResourceName: ""}`: ""} {
		o, err := template(t, values(t, "dra: "+text))
		must(t, err)
		class := all[*resourcev1.DeviceClass](o)["DeviceClass /roce-k8s.io"].Spec
		got := ""
		if class.ExtendedResourceName != nil {
			got = *class.ExtendedResourceName
		}
		if got != want || strings.Contains(class.Selectors[0].CEL.Expression, "resourceName") != (want != "") {
			t.Errorf("%s: %s, %s", text, got, class.Selectors[0].CEL.Expression)
		}
	}
}

func TestTheChartsDriverFollowsTheNodesFolders(t *testing.T) {
	o, err := template(t, values(t, `{dra: {enabled: true, attributes: {ens12np0: {example.com/pair: 0}}, cniConfDir: /var/cni/net.d}, kubeletDir: /srv/kubelet, cniBinDir: /srv/cni, rescue: false}`))
	must(t, err)
	pod := draDaemonSet(t, o).Spec.Template.Spec
	if args := strings.Join(pod.Containers[0].Args, " "); !strings.Contains(args, "--kubelet-dir=/srv/kubelet --cni-dir=/srv/cni") || len(pod.Containers) != 2 {
		t.Errorf("%d containers, %s", len(pod.Containers), args)
	}
	paths := map[string]string{}
	for _, v := range pod.Volumes {
		if v.HostPath != nil {
			paths[v.Name] = v.HostPath.Path
		}
	}
	for _, m := range pod.Containers[0].VolumeMounts {
		if strings.HasPrefix(m.Name, "plugins") && (paths[m.Name] != m.MountPath || !strings.HasPrefix(m.MountPath, "/srv/kubelet/")) {
			t.Errorf("the kubelet would look for %s at %s", m.MountPath, paths[m.Name])
		}
	}
	if paths["cni-conf"] != "/var/cni/net.d" || paths["cni-bin"] != "/srv/cni" {
		t.Errorf("%v", paths)
	}
	if c := all[*corev1.ConfigMap](o)["ConfigMap kube-system/roce-k8s-dra-attributes"]; c == nil || strings.TrimSpace(c.Data["attributes.yaml"]) != "ens12np0:\n  example.com/pair: 0" {
		t.Errorf("%+v", c)
	}
}

func TestTheClaimsOfTheExamplesNameWhatIsThere(t *testing.T) {
	o := examples(t)["dra.yaml"]
	classes := map[string]bool{"gpu.nvidia.com": true}
	for _, c := range all[*resourcev1.DeviceClass](o) {
		classes[c.Name] = true
		for _, config := range c.Spec.Config {
			network := map[string]any{}
			must(t, json.Unmarshal(config.Opaque.Parameters.Raw, &network))
			maps.Copy(network, map[string]any{"cniVersion": "1.1.0", "name": "n", "type": "roce-host-device", "device": "none0"})
			if answer := status(t, network); answer.Code != 50 || !strings.Contains(answer.Msg, "no NIC with") || config.Opaque.Driver != "roce-k8s.io" {
				t.Errorf("%s: %+v", c.Name, answer)
			}
		}
	}
	templates := map[string]bool{}
	for _, c := range all[*resourcev1.ResourceClaimTemplate](o) {
		templates[c.Name] = true
		names := map[string]bool{}
		for _, r := range c.Spec.Spec.Devices.Requests {
			if r.Exactly != nil {
				names[r.Name] = classes[r.Exactly.DeviceClassName]
			}
			for _, sub := range r.FirstAvailable {
				names[r.Name+"/"+sub.Name] = classes[sub.DeviceClassName]
			}
		}
		for _, constraint := range c.Spec.Spec.Devices.Constraints {
			for _, r := range constraint.Requests {
				if !names[r] {
					t.Errorf("%s: a constraint is for %s", c.Name, r)
				}
			}
		}
		for name, known := range names {
			if !known {
				t.Errorf("%s: %s is of no class", c.Name, name)
			}
		}
	}
	for _, p := range all[*corev1.Pod](o) {
		if !templates[*p.Spec.ResourceClaims[0].ResourceClaimTemplateName] {
			t.Errorf("%s has no template", p.Name)
		}
	}
}

// What the DaemonSet is given the program must know.
func TestTheDriverTakesTheFlagsOfEveryVariant(t *testing.T) {
	for _, dir := range draVariants {
		for _, c := range draDaemonSet(t, kustomize(t, dir)).Spec.Template.Spec.Containers {
			name := "rdma-device-plugin"
			if strings.Contains(c.Image, "roce-k8s-dra") {
				name = "rdma-dra-driver"
			}
			cmd := exec.Command(program(t, name), append(slices.Clone(c.Args), "--help")...)
			cmd.Env = append(os.Environ(), "NODE_NAME=node1")
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v: %s", dir, c.Name, err, out)
			}
		}
	}
}
