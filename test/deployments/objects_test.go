package deployments

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	resourcev1 "k8s.io/api/resource/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	strictjson "sigs.k8s.io/json"
	"sigs.k8s.io/yaml"
)

// A network is a NetworkAttachmentDefinition.
type network struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Config string `json:"config"`
	} `json:"spec"`
}

// kinds are those that the manifests may have.
var kinds = map[string]func() metav1.Object{
	"apps/v1 DaemonSet": func() metav1.Object { return &appsv1.DaemonSet{} },
	"batch/v1 CronJob":  func() metav1.Object { return &batchv1.CronJob{} },
	"batch/v1 Job":      func() metav1.Object { return &batchv1.Job{} },
	"v1 ConfigMap":      func() metav1.Object { return &corev1.ConfigMap{} },
	"v1 Pod":            func() metav1.Object { return &corev1.Pod{} },
	"v1 Service":        func() metav1.Object { return &corev1.Service{} },
	"v1 ServiceAccount": func() metav1.Object { return &corev1.ServiceAccount{} },
	"rbac.authorization.k8s.io/v1 RoleBinding":                         func() metav1.Object { return &rbacv1.RoleBinding{} },
	"rbac.authorization.k8s.io/v1 ClusterRole":                         func() metav1.Object { return &rbacv1.ClusterRole{} },
	"rbac.authorization.k8s.io/v1 ClusterRoleBinding":                  func() metav1.Object { return &rbacv1.ClusterRoleBinding{} },
	"resource.k8s.io/v1 ResourceClaimTemplate":                         func() metav1.Object { return &resourcev1.ResourceClaimTemplate{} },
	"resource.k8s.io/v1 DeviceClass":                                   func() metav1.Object { return &resourcev1.DeviceClass{} },
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy":        func() metav1.Object { return &admissionv1.ValidatingAdmissionPolicy{} },
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding": func() metav1.Object { return &admissionv1.ValidatingAdmissionPolicyBinding{} },
	"monitoring.coreos.com/v1 ServiceMonitor":                          func() metav1.Object { return &monitoringv1.ServiceMonitor{} },
	"monitoring.coreos.com/v1 PrometheusRule":                          func() metav1.Object { return &monitoringv1.PrometheusRule{} },
	"k8s.cni.cncf.io/v1 NetworkAttachmentDefinition":                   func() metav1.Object { return &network{} },
}

// objects are manifests by kind, namespace and name.
type objects map[string]metav1.Object

// decode reads manifests as the API server's strict validation does: no
// unknown field, none twice, none in the wrong case.
func decode(t *testing.T, manifests []byte) objects {
	t.Helper()
	all := objects{}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(manifests)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		must(t, err)
		j, err := yaml.YAMLToJSONStrict(document)
		must(t, err)
		if string(j) == "null" {
			continue // comments only
		}
		var meta metav1.TypeMeta
		must(t, json.Unmarshal(j, &meta))
		kind := meta.APIVersion + " " + meta.Kind
		if kinds[kind] == nil {
			t.Fatalf("unknown kind %q", kind)
		}
		object := kinds[kind]()
		strict, err := strictjson.UnmarshalStrict(j, object)
		if err := errors.Join(append(strict, err)...); err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		name := fmt.Sprintf("%s %s/%s", meta.Kind, object.GetNamespace(), object.GetName())
		if all[name] != nil {
			t.Fatalf("%s is there twice", name)
		}
		all[name] = object
	}
}

// meaning is an object regardless of how its text is written.
func meaning(t *testing.T, object metav1.Object) any {
	t.Helper()
	j, err := json.Marshal(object)
	must(t, err)
	m := map[string]any{}
	must(t, json.Unmarshal(j, &m))
	for _, path := range [][2]string{{"data", "config.json"}, {"data", "policy.json"}, {"spec", "config"}} {
		if inner, ok := m[path[0]].(map[string]any); ok && inner[path[1]] != nil {
			var config any
			must(t, json.Unmarshal([]byte(inner[path[1]].(string)), &config))
			inner[path[1]] = config
		}
	}
	return m
}

func same(t *testing.T, got, want objects) {
	t.Helper()
	for name := range want {
		if got[name] == nil {
			t.Errorf("no %s", name)
			continue
		}
		g, w := meaning(t, got[name]), meaning(t, want[name])
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s differs:\n%s\nwant\n%s", name, indent(t, g), indent(t, w))
		}
	}
	for name := range got {
		if want[name] == nil {
			t.Errorf("%s is too many", name)
		}
	}
}

func indent(t *testing.T, v any) []byte {
	t.Helper()
	j, err := json.MarshalIndent(v, "", " ")
	must(t, err)
	return j
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// all returns the objects of a kind.
func all[T metav1.Object](o objects) map[string]T {
	found := map[string]T{}
	for name, object := range o {
		if typed, ok := object.(T); ok {
			found[name] = typed
		}
	}
	return found
}
