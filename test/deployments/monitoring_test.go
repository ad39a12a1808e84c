package deployments

import (
	"encoding/json"
	"os/exec"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
)

// Whatever is not asked for is not there: neither an address that others reach
// nor an object of a kind that a cluster may not know.
func TestByDefaultTheMetricsStayOnTheNode(t *testing.T) {
	o, err := template(t, values(t, ""))
	must(t, err)
	for name := range o {
		if !strings.HasPrefix(name, "DaemonSet ") && !strings.HasPrefix(name, "ConfigMap kube-system/rdma-devices") {
			t.Errorf("the chart has %s", name)
		}
	}
	if args := daemonSet(t, o).Spec.Template.Spec.Containers[0].Args; slices.ContainsFunc(args, func(a string) bool { return strings.Contains(a, "metrics") }) {
		t.Errorf("args %v", args)
	}
}

func TestTheMetricsHaveTheAddressThatTheValuesHave(t *testing.T) {
	for text, want := range map[string]string{
		"metrics: {address: 127.0.0.1, port: 9817}": "",
		`metrics: {address: ""}`:                    "--metrics-address=:9817",
		"metrics: {address: 10.0.0.7, port: 9000}":  "--metrics-address=10.0.0.7:9000",
		"metrics: {address: '[::]'}":                "--metrics-address=[::]:9817",
	} {
		o, err := template(t, values(t, text))
		must(t, err)
		args := daemonSet(t, o).Spec.Template.Spec.Containers[0].Args
		got := args[slices.IndexFunc(args, func(a string) bool { return strings.HasPrefix(a, "--probe-socket") })+1:]
		if strings.Join(got, " ") != want {
			t.Errorf("%s: %q", text, got)
		}
	}
}

// The Secrets are mounted where the flags say, each where somebody asks for it,
// and a pod does not wait for them: a device plugin without metrics is better
// than none.
func TestTheSecretsOfTheMetricsAreWhereTheProgramLooks(t *testing.T) {
	o, err := template(t, values(t, "metrics: {address: '', tlsSecret: own, clientCASecret: authority, tokenSecret: password, service: true}"))
	must(t, err)
	pod := daemonSet(t, o).Spec.Template.Spec
	plugin := pod.Containers[0]
	for secret, want := range map[string]struct{ path, arg string }{
		"own":       {"/run/metrics/tls", "--metrics-tls-dir=/run/metrics/tls"},
		"authority": {"/run/metrics/client-ca", "--metrics-client-ca=/run/metrics/client-ca/ca.crt"},
		"password":  {"/run/metrics/token", "--metrics-token-file=/run/metrics/token/token"},
	} {
		volume := slices.IndexFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Secret != nil && v.Secret.SecretName == secret })
		if volume < 0 || !*pod.Volumes[volume].Secret.Optional {
			t.Errorf("no volume of %s, or the pod waits for it", secret)
			continue
		}
		mounted := slices.ContainsFunc(plugin.VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.Name == pod.Volumes[volume].Name && m.MountPath == want.path && m.ReadOnly
		})
		if !mounted || !slices.Contains(plugin.Args, want.arg) {
			t.Errorf("%s: mounts %v, args %v", secret, plugin.VolumeMounts, plugin.Args)
		}
	}
}

// By the Service a Prometheus finds the pods, at the port that they have.
func TestTheServiceLeadsToThePods(t *testing.T) {
	o, err := template(t, values(t, "{metrics: {address: '', port: 9000, service: true}, dra: {enabled: true}}"))
	must(t, err)
	service, ok := o["Service kube-system/roce-k8s"].(*corev1.Service)
	if !ok || service.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Fatalf("no headless Service: %+v", service)
	}
	for _, ds := range []*appsv1.DaemonSet{daemonSet(t, o), draDaemonSet(t, o)} {
		for key, value := range service.Spec.Selector {
			if ds.Spec.Template.Labels[key] != value {
				t.Errorf("no pod of %s has %s=%s", ds.Name, key, value)
			}
		}
		if args := ds.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--metrics-address=:9000") {
			t.Errorf("%s serves at another address: %v", ds.Name, args)
		}
	}
	if port := service.Spec.Ports[0]; port.Port != 9000 || port.TargetPort.IntValue() != 9000 {
		t.Errorf("port %+v", port)
	}
	if len(all[*monitoringv1.ServiceMonitor](o)) != 0 {
		t.Error("a ServiceMonitor that nobody asked for")
	}
}

func TestTheServiceMonitorFindsTheServiceAndSaysHow(t *testing.T) {
	o, err := template(t, values(t, `
metrics: {address: "", tlsSecret: own, clientCASecret: own}
serviceMonitor:
  enabled: true
  interval: 15s
  labels: {release: prometheus}
  tlsConfig: {serverName: roce-k8s, ca: {secret: {name: own, key: ca.crt}}}
  authorization: {credentials: {name: password, key: token}}
`))
	must(t, err)
	monitor, ok := o["ServiceMonitor kube-system/roce-k8s"].(*monitoringv1.ServiceMonitor)
	service, there := o["Service kube-system/roce-k8s"].(*corev1.Service)
	if !ok || !there {
		t.Fatal("no ServiceMonitor, or no Service for it")
	}
	for key, value := range monitor.Spec.Selector.MatchLabels {
		if service.Labels[key] != value {
			t.Errorf("the Service lacks %s=%s", key, value)
		}
	}
	if monitor.Labels["release"] != "prometheus" {
		t.Errorf("labels %v", monitor.Labels)
	}
	e := monitor.Spec.Endpoints[0]
	if e.Port != service.Spec.Ports[0].Name || e.Scheme == nil || strings.ToLower(e.Scheme.String()) != "https" || e.Interval != "15s" ||
		*e.TLSConfig.ServerName != "roce-k8s" || e.Authorization.Credentials.Name != "password" {
		t.Errorf("endpoint %+v", e)
	}
}

// The overlay and its values are an example of the safest way; the chart's
// comparison with it is in chart_test.go.
func TestTheOverlayAsksClientsForCertificates(t *testing.T) {
	for name, ds := range map[string]*appsv1.DaemonSet{
		"the device plugin": daemonSet(t, kustomize(t, monitoring)), "the driver": draDaemonSet(t, kustomize(t, draMonitoring)),
	} {
		args := ds.Spec.Template.Spec.Containers[0].Args
		for _, flag := range []string{"--metrics-tls-dir=", "--metrics-client-ca="} {
			if !slices.ContainsFunc(args, func(a string) bool { return strings.HasPrefix(a, flag) }) {
				t.Errorf("%s: no %s in %v", name, flag, args)
			}
		}
	}
}

// What the DaemonSet is given the program must know.
func TestTheDevicePluginTakesTheFlagsOfEveryVariant(t *testing.T) {
	for _, dir := range variants {
		args := append(slices.Clone(daemonSet(t, kustomize(t, dir)).Spec.Template.Spec.Containers[0].Args), "--version")
		if out, err := exec.Command(program(t, "rdma-device-plugin"), args...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", dir, err, out)
		}
	}
}

func TestTheAlertsAndTheDashboardGoWhereTheValuesSay(t *testing.T) {
	o, err := template(t, values(t, `
alerts: {enabled: true, labels: {release: prometheus}, runbook: "https://wiki.example.com/roce"}
dashboard: {enabled: true, namespace: grafana, labels: {dashboards: "yes"}}
`))
	must(t, err)
	rule, ok := o["PrometheusRule kube-system/roce-k8s"].(*monitoringv1.PrometheusRule)
	if !ok || rule.Labels["release"] != "prometheus" {
		t.Fatalf("the rules are %+v", rule)
	}
	for _, group := range rule.Spec.Groups {
		for _, r := range group.Rules {
			if url := r.Annotations["runbook_url"]; !strings.HasPrefix(url, "https://wiki.example.com/roce#") {
				t.Errorf("%s leads to %s", r.Alert, url)
			}
			// Prometheus fills it in, and not Helm.
			if !strings.Contains(r.Annotations["summary"], "{{ $labels.instance }}") {
				t.Errorf("%s says %q", r.Alert, r.Annotations["summary"])
			}
		}
	}
	dashboard, ok := o["ConfigMap grafana/roce-k8s-dashboard"].(*corev1.ConfigMap)
	if !ok || dashboard.Labels["dashboards"] != "yes" || !json.Valid([]byte(dashboard.Data["dashboard.json"])) {
		t.Errorf("the dashboard is %+v", dashboard)
	}
}
