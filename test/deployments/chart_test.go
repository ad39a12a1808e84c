package deployments

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v3/pkg/lint"
	"helm.sh/helm/v3/pkg/lint/support"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/roce-k8s/roce-k8s/test/deployments/helm"
)

const chartDir = folder + "chart/roce-k8s"

// values reads values in YAML.
func values(t *testing.T, text string) map[string]any {
	t.Helper()
	v := map[string]any{}
	must(t, yaml.Unmarshal([]byte(text), &v))
	return v
}

// template is `helm template -n kube-system --no-hooks`. The error is what a user
// sees.
func template(t *testing.T, v map[string]any) (objects, error) {
	t.Helper()
	o, err := render(t, v)
	maps.DeleteFunc(o, func(_ string, object metav1.Object) bool { return object.GetAnnotations()["helm.sh/hook"] != "" })
	return o, err
}

// render is that with the hooks.
func render(t *testing.T, v map[string]any) (objects, error) {
	t.Helper()
	manifests, err := helm.Template(chartDir, v)
	if err != nil {
		return nil, err
	}
	return decode(t, []byte(manifests)), nil
}

func TestTheChartSaysWhatKustomizeSays(t *testing.T) {
	for _, dir := range variants {
		t.Run(dir, func(t *testing.T) {
			text := ""
			if overlay, ok := strings.CutPrefix(dir, "overlays/"); ok {
				b, err := os.ReadFile(chartDir + "/ci/" + overlay + "-values.yaml")
				must(t, err)
				text = string(b)
			}
			got, err := template(t, values(t, text))
			must(t, err)
			same(t, got, kustomize(t, dir))
		})
	}
}

func TestTheChartTakesTheValuesOfEachDistribution(t *testing.T) {
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	must(t, err)
	if len(files) < len(variants) {
		t.Errorf("only %d files", len(files))
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		if _, err := template(t, values(t, string(b))); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
}

func TestTheChartHasNothingToBeLinted(t *testing.T) {
	with := map[string]map[string]any{"the defaults": {}}
	files, err := filepath.Glob(chartDir + "/ci/*-values.yaml")
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		with[file] = values(t, string(b))
	}
	for name, v := range with {
		for _, m := range lint.All(chartDir, v, "kube-system", true).Messages {
			if m.Severity > support.InfoSev {
				t.Errorf("%s: %v", name, m)
			}
		}
	}
}

// What `helm test` runs asks for what it tests, and may do nothing else.
func TestTheTestOfAnInstallationAsksForAUnitAndHasNoPrivilege(t *testing.T) {
	for text, want := range map[string]corev1.ResourceName{
		"{}":                              "rdma/hca_gpu",
		"testResource: example.com/rail":  "example.com/rail",
		"existingConfigMap: rdma-devices": "",
		"config: {configList: [{resourceName: a, resourcePrefix: b.c, rdmaHcaMax: 1, selectors: {drivers: [mlx5_core]}}]}": "b.c/a",
	} {
		o, err := render(t, values(t, text))
		must(t, err)
		pod, ok := o["Pod kube-system/roce-k8s-test"].(*corev1.Pod)
		if !ok {
			t.Fatalf("%s: no pod", text)
		}
		limits := pod.Spec.Containers[0].Resources.Limits
		if units := limits[want]; want == "" && len(limits) > 0 || want != "" && units.Value() != 1 {
			t.Errorf("%s: it asks for %v, want a unit of %q", text, limits, want)
		}
		plugin := daemonSet(t, o).Spec.Template.Spec
		if *pod.Spec.AutomountServiceAccountToken || pod.Spec.HostNetwork != plugin.HostNetwork {
			t.Errorf("%s: a token, or another network than the plugin's", text)
		}
		for _, c := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
			s := c.SecurityContext
			if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(s.Capabilities.Add) > 0 {
				t.Errorf("%s: container %s is privileged: %+v", text, c.Name, s)
			}
			if c.Image != plugin.Containers[0].Image {
				t.Errorf("%s: image %s, the DaemonSet has %s", text, c.Image, plugin.Containers[0].Image)
			}
			for _, m := range c.VolumeMounts {
				if !m.ReadOnly {
					t.Errorf("%s: it may write to %s", text, m.MountPath)
				}
			}
		}
	}
}

func TestBadValuesAreRefusedWithTheirPlace(t *testing.T) {
	for text, want := range map[string][]string{
		"imag: {tag: v1}":                         {"imag", "not allowed"},
		"image: {tag: 1.0}":                       {"/image/tag", "got number, want string"},
		"image: {pullPolicy: Sometimes}":          {"/image/pullPolicy", "IfNotPresent"},
		"cdi: please":                             {"/cdi", "got string, want boolean"},
		"kubeletDir: var/lib/kubelet":             {"/kubeletDir", "does not match pattern"},
		"logLevel: loud":                          {"/logLevel", "debug"},
		"extraArgs: [use-cdi]":                    {"/extraArgs/0", "does not match pattern"},
		"config: {configList: []}":                {"/config/configList", "minItems"},
		"config: {configList: [{rdmaHcaMax: 8}]}": {"/config/configList/0", "resourceName"},
		"config: {configList: [{resourceName: a, selectors: {ifnames: [a]}}]}": {"/config/configList/0/selectors", "ifnames"},
		"config: {configList: [{resourceName: a, mode: exclusive}]}":           {"/config/configList/0/mode", "perDevice"},
		"networks: [{name: a}]":                     {"/networks/0", "config"},
		"policy: [a]":                               {"/policy", "got array"},
		"policy: {nisc: []}":                        {"/policy", "nisc"},
		"policy: {nics: [{}]}":                      {"/policy/nics/0", "minProperties"},
		"policy: {namespaces: {a: {stateDir: /x}}}": {"/policy/namespaces/a", "stateDir"},
		"policy: {tables: {min: 0}}":                {"/policy/tables/min", "minimum"},
		"policy: {stateDir: /srv/a}":                {"policy.stateDir is /srv/a, stateDir is /var/lib/cni/roce-host-device", "one folder"},
		"policy: 'nics: []'":                        {"policy is no JSON object"},
		"cdiDir: cdi":                               {"/cdiDir", "does not match pattern"},
		"updateStrategy: {type: Recreate}":          {"/updateStrategy/type", "OnDelete"},
		"podLabels: {a: 1}":                         {"/podLabels/a", "got number"},
		"podAnnotations: {a: true}":                 {"/podAnnotations/a", "got boolean"},
		"serviceAccount: {nam: a}":                  {"/serviceAccount", "nam"},
		"scc: privileged":                           {"scc needs serviceAccount.create"},
		"metrics: {address: '::1'}":                 {"/metrics/address", "does not match pattern"},
		"metrics: {port: 0}":                        {"/metrics/port", "minimum"},
		"metrics: {service: true}":                  {"metrics.address is 127.0.0.1", "docs/monitoring.md"},
		"serviceMonitor: {enabled: true}":           {"metrics.address is 127.0.0.1"},
		"serviceMonitor: {interval: often}":         {"/serviceMonitor/interval", "does not match pattern"},
		"metrics: {clientCASecret: a}":              {"metrics.clientCASecret and metrics.tokenSecret need metrics.tlsSecret"},
		"alerts: {runbook: docs}":                   {"/alerts/runbook", "does not match pattern"},
		"dashboard: {enabled: 1}":                   {"/dashboard/enabled", "got number"},
		"metrics: {tokenSecret: a}":                 {"metrics.clientCASecret and metrics.tokenSecret need metrics.tlsSecret"},
	} {
		_, err := template(t, values(t, text))
		if err == nil {
			t.Errorf("%s: accepted", text)
			continue
		}
		for _, word := range want {
			if !strings.Contains(err.Error(), word) {
				t.Errorf("%s: the message lacks %q:\n%v", text, word, err)
			}
		}
	}
}

func TestAConfigMapThatIsThereStaysAsItIs(t *testing.T) {
	o, err := template(t, values(t, "existingConfigMap: site-devices"))
	must(t, err)
	if len(all[*corev1.ConfigMap](o)) != 0 {
		t.Error("the chart has a ConfigMap of its own")
	}
	if from := daemonSet(t, o).Spec.Template.Spec.Volumes[0].ConfigMap.Name; from != "site-devices" {
		t.Errorf("it reads %s", from)
	}
}

func TestWithoutRescueThereIsNoCapability(t *testing.T) {
	o, err := template(t, values(t, "rescue: false"))
	must(t, err)
	plugin := daemonSet(t, o).Spec.Template.Spec.Containers[0]
	if len(plugin.SecurityContext.Capabilities.Add) != 0 || !slices.Contains(plugin.Args, "--rescue=false") {
		t.Errorf("capabilities %v, args %v", plugin.SecurityContext.Capabilities, plugin.Args)
	}
}

func TestEveryValueArrivesInTheDaemonSet(t *testing.T) {
	o, err := template(t, values(t, `
image: {repository: registry.example.com:5000/roce-k8s, tag: "sha256:abc", pullPolicy: Always}
imagePullSecrets: [{name: registry}]
logLevel: debug
extraArgs: ["--metrics-address=127.0.0.1:9000"]
kubeletDir: /var/snap/kubelet
cniBinDir: /var/lib/rancher/k3s/data/cni
cniBinOwner: 987
stateDir: /var/lib/rails
nodeSelector: {gpu: "yes"}
tolerations: []
affinity: {nodeAffinity: {}}
seLinuxOptions: {type: spc_t}
resources: {requests: {cpu: 1m, memory: 1Mi}}
cdi: true
cdiDir: /var/cdi/dynamic
updateStrategy: {rollingUpdate: {maxUnavailable: 1, maxSurge: 0}}
podLabels: {team: fabric, app.kubernetes.io/name: another}
podAnnotations: {example.com/scrape: "no"}
serviceAccount: {name: rails}
`))
	must(t, err)
	text := string(indent(t, daemonSet(t, o)))
	for _, want := range []string{
		`"registry.example.com:5000/roce-k8s@sha256:abc"`, `"Always"`, `"name": "registry"`, `"--log-level=debug"`, `"--metrics-address=127.0.0.1:9000"`,
		`"/var/lib/kubelet/device-plugins"`, `"/var/snap/kubelet/pod-resources"`, `"/var/lib/rancher/k3s/data/cni"`, `"/var/lib/rails"`, `"runAsUser": 987`,
		`"gpu": "yes"`, `"kubernetes.io/os": "linux"`, `"nodeAffinity"`, `"spc_t"`, `"cpu": "1m"`,
		`"/var/cdi/dynamic"`, `"mountPath": "/var/run/cdi"`, `"maxUnavailable": 1`, `"maxSurge": 0`, `"team": "fabric"`, `"example.com/scrape": "no"`,
		`"serviceAccountName": "rails"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %s", want)
		}
	}
	for name, unwanted := range map[string]string{"tolerations, though the values have none": "tolerations", "a label that the selector does not match": "another"} {
		if strings.Contains(text, unwanted) {
			t.Error(name)
		}
	}
}

func TestAnUpdateOnDeleteHasNoRollout(t *testing.T) {
	o, err := template(t, values(t, "updateStrategy: {type: OnDelete}"))
	must(t, err)
	if s := daemonSet(t, o).Spec.UpdateStrategy; s.Type != appsv1.OnDeleteDaemonSetStrategyType || s.RollingUpdate != nil {
		t.Errorf("%+v", s)
	}
}

func TestAnAnnotationIsBesideThatOfThePolicy(t *testing.T) {
	o, err := template(t, values(t, "policy: {force: false}\npodAnnotations: {policy: mine, site: a}"))
	must(t, err)
	if a := daemonSet(t, o).Spec.Template.Annotations; a["site"] != "a" || len(a["policy"]) != 64 {
		t.Errorf("%v", a)
	}
}

// On OpenShift the account of the pods may use an SCC, and no other account may.
func TestASecurityContextConstraintIsForTheAccountOfThePods(t *testing.T) {
	for text, name := range map[string]string{
		"scc: privileged\nserviceAccount: {create: true}":              "roce-k8s",
		"scc: privileged\nserviceAccount: {create: true, name: rails}": "rails",
		"scc: privileged\nserviceAccount: {name: theirs}":              "theirs",
	} {
		o, err := render(t, values(t, text))
		must(t, err)
		pod := daemonSet(t, o).Spec.Template.Spec
		if pod.ServiceAccountName != name || *pod.AutomountServiceAccountToken {
			t.Errorf("%s: the pod's account is %q, with a token or without", text, pod.ServiceAccountName)
		}
		if test := all[*corev1.Pod](o)["Pod kube-system/roce-k8s-test"]; test == nil || test.Spec.ServiceAccountName != name {
			t.Errorf("%s: the pod of helm test has another account: %+v", text, test)
		}
		accounts := all[*corev1.ServiceAccount](o)
		if account := accounts["ServiceAccount kube-system/"+name]; len(accounts) > 0 && (account == nil || *account.AutomountServiceAccountToken) {
			t.Errorf("%s: accounts %v", text, accounts)
		}
		if made := len(accounts) == 1; made != strings.Contains(text, "create") {
			t.Errorf("%s: %d accounts", text, len(accounts))
		}
		binding, ok := o["RoleBinding kube-system/roce-k8s-scc"].(*rbacv1.RoleBinding)
		if !ok || binding.RoleRef.Name != "system:openshift:scc:privileged" || len(binding.Subjects) != 1 || binding.Subjects[0].Name != name {
			t.Errorf("%s: %+v", text, binding)
		}
	}
}

// policyOf is the policy that a chart's values or a file have, "" for none.
func policyOf(o objects) string {
	for _, c := range all[*corev1.ConfigMap](o) {
		if c.Name == "roce-host-device-policy" {
			return c.Data["policy.json"]
		}
	}
	return ""
}

func TestThePolicyIsAnObjectOrTheTextOfAFile(t *testing.T) {
	example := policyOf(examples(t)["policy-two-tenants.yaml"])
	var want map[string]any
	must(t, json.Unmarshal([]byte(example), &want))
	for name, policy := range map[string]any{"text": example, "object": want} {
		o, err := template(t, map[string]any{"policy": policy})
		must(t, err)
		var got map[string]any
		must(t, json.Unmarshal([]byte(policyOf(o)), &got))
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s became %v", name, got)
		}
		if daemonSet(t, o).Spec.Template.Annotations["policy"] == "" {
			t.Errorf("%s: a changed policy would reach no node", name)
		}
	}
}

func TestThereIsAPolicyWhereTheValuesSaySomething(t *testing.T) {
	for text, want := range map[string]string{
		"policy: {}":       "",
		"policy: ''":       "",
		"policy: '{}'":     "{}",
		"stateDir: /srv/a": `{"stateDir":"/srv/a"}`,
		"policy: {force: false, stateDir: /srv/a}\nstateDir: /srv/a": `{"force":false,"stateDir":"/srv/a"}`,
		"policy: {tables: {max: 4294967295}}":                        `{"tables":{"max":4294967295}}`,
	} {
		o, err := template(t, values(t, text))
		must(t, err)
		if got := strings.Join(strings.Fields(policyOf(o)), ""); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}
