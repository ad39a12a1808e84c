package deployments

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
)

// statusOf runs a program and returns what it exits with.
func statusOf(t *testing.T, name string, args ...string) (status int, output string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if failed := (*exec.ExitError)(nil); errors.As(err, &failed) {
		return failed.ExitCode(), string(out)
	}
	must(t, err)
	return 0, string(out)
}

// Whatever it finds on the machine of the test, it can look.
func TestTheDoctorTakesTheCommandsOfTheExamples(t *testing.T) {
	job := all[*batchv1.Job](examples(t)["doctor-job.yaml"])
	init := all[*appsv1.DaemonSet](examples(t)["doctor-init.yaml"])
	containers := []corev1.Container{
		job["Job kube-system/roce-doctor"].Spec.Template.Spec.Containers[0],
		init["DaemonSet /roce-k8s"].Spec.Template.Spec.InitContainers[0],
	}
	if containers[0].Image != containers[1].Image {
		t.Errorf("two images, %s and %s", containers[0].Image, containers[1].Image)
	}
	script := all[*corev1.ConfigMap](examples(t)["doctor-problem-detector.yaml"])["ConfigMap kube-system/roce-doctor"].Data["check.sh"]
	detector := strings.Fields(regexp.MustCompile(`(?m)^/roce/(.*)$`).FindStringSubmatch(script)[1])
	for _, c := range append(containers, corev1.Container{Command: detector}) {
		status, output := statusOf(t, program(t, "rdma-device-plugin"), c.Command[1:]...)
		if status != 0 && status != 2 {
			t.Errorf("%v: %d: %s", c.Command, status, output)
		}
	}
}

// A node with one dead rail keeps the others, and one without NICs is not broken.
func TestTheDoctorsExamplesTakeNoHealthyNodeForBroken(t *testing.T) {
	ignored := func(command string) string {
		return "," + regexp.MustCompile(`--ignore=([a-z,-]+)`).FindStringSubmatch(command)[1] + ","
	}
	init := all[*appsv1.DaemonSet](examples(t)["doctor-init.yaml"])["DaemonSet /roce-k8s"].Spec.Template.Spec
	if len(init.NodeSelector) == 0 {
		t.Error("it stops the DaemonSet on nodes without NICs")
	}
	for _, check := range []string{"gone", "port", "gid"} {
		if got := ignored(strings.Join(init.InitContainers[0].Command, " ")); !strings.Contains(got, ","+check+",") {
			t.Errorf("before the device plugin, %s is not ignored: %s", check, got)
		}
	}
	script := all[*corev1.ConfigMap](examples(t)["doctor-problem-detector.yaml"])["ConfigMap kube-system/roce-doctor"].Data["check.sh"]
	for _, check := range []string{"modules", "rails"} {
		if got := ignored(script); !strings.Contains(got, ","+check+",") {
			t.Errorf("on nodes without NICs, %s is not ignored: %s", check, got)
		}
	}
}

// The patch mounts what the DaemonSet has, and brings the rest.
func TestTheDoctorsPatchFitsTheDaemonSet(t *testing.T) {
	patch := all[*appsv1.DaemonSet](examples(t)["doctor-init.yaml"])["DaemonSet /roce-k8s"]
	base := daemonSet(t, kustomize(t, "base"))
	if base.Name != patch.Name {
		t.Errorf("it is for %s", patch.Name)
	}
	if image := patch.Spec.Template.Spec.InitContainers[0].Image; image != base.Spec.Template.Spec.Containers[0].Image {
		t.Errorf("it has the image %s", image)
	}
	volumes := slices.Concat(base.Spec.Template.Spec.Volumes, patch.Spec.Template.Spec.Volumes)
	for _, mount := range patch.Spec.Template.Spec.InitContainers[0].VolumeMounts {
		if !slices.ContainsFunc(volumes, func(v corev1.Volume) bool { return v.Name == mount.Name }) {
			t.Errorf("there is no volume %s", mount.Name)
		}
	}
}

func TestNodeProblemDetectorIsToldOfWhatIsBroken(t *testing.T) {
	o := examples(t)["doctor-problem-detector.yaml"]
	data := all[*corev1.ConfigMap](o)["ConfigMap kube-system/roce-doctor"].Data
	var monitor struct {
		Conditions []struct{ Type string }
		Rules      []struct{ Condition, Path string }
	}
	must(t, json.Unmarshal([]byte(data["monitor.json"]), &monitor))
	rule := monitor.Rules[0]
	if rule.Condition != monitor.Conditions[0].Type || data[filepath.Base(rule.Path)] == "" {
		t.Errorf("%+v", monitor)
	}
	pod := all[*appsv1.DaemonSet](o)["DaemonSet kube-system/node-problem-detector"].Spec.Template.Spec
	if image := daemonSet(t, kustomize(t, "base")).Spec.Template.Spec.Containers[0].Image; pod.Volumes[0].Image.Reference != image {
		t.Errorf("it has the image %s", pod.Volumes[0].Image.Reference)
	}
	mounts := pod.Containers[0].VolumeMounts
	for _, path := range []string{rule.Path, "/roce/rdma-device-plugin"} {
		if !slices.ContainsFunc(mounts, func(m corev1.VolumeMount) bool { return m.MountPath == filepath.Dir(path) }) {
			t.Errorf("%s is not mounted", path)
		}
	}
	// What it exits with for each status of the doctor.
	for doctor, want := range map[int]int{0: 0, 1: 2, 2: 1, 3: 2, 127: 2} {
		script := strings.Replace(data["check.sh"], "/roce/rdma-device-plugin doctor", fmt.Sprintf("sh -c 'exit %d'", doctor), 1)
		file := filepath.Join(t.TempDir(), "check.sh")
		must(t, os.WriteFile(file, []byte(script), 0o600))
		if status, output := statusOf(t, "sh", file); status != want {
			t.Errorf("%d becomes %d: %s", doctor, status, output)
		}
	}
}
