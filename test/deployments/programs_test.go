package deployments

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// program is one of ours, built.
func program(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("ROCE_PROGRAMS")
	if dir == "" {
		t.Skip("needs the built programs: run it with `make test-deployments`")
	}
	return filepath.Join(dir, name)
}

// TestMain reads what `make test-deployments` says of the files outside this
// module: Go takes a result from its cache only if the environment that a test
// read is the same.
func TestMain(m *testing.M) {
	_ = os.Getenv("ROCE_DEPLOYMENTS_SUM")
	os.Exit(m.Run())
}

func TestTheDevicePluginTakesEveryConfiguration(t *testing.T) {
	for _, dir := range variants {
		for name, c := range all[*corev1.ConfigMap](kustomize(t, dir)) {
			if !strings.HasSuffix(name, "/rdma-devices") {
				continue
			}
			file := filepath.Join(t.TempDir(), "config.json")
			must(t, os.WriteFile(file, []byte(c.Data["config.json"]), 0o600))
			if out, err := exec.Command(program(t, "rdma-device-plugin"), "validate", file).CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v: %s", dir, name, err, out)
			}
		}
	}
}

func TestTheCNIPluginTakesThePolicyOfTheExamples(t *testing.T) {
	file := filepath.Join(t.TempDir(), "policy.json")
	must(t, os.WriteFile(file, []byte(policyOf(examples(t)["policy-two-tenants.yaml"])), 0o600))
	if out, err := exec.Command(program(t, "roce-host-device"), "validate", file).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// The command of the init container, with folders of this test.
func TestTheInitContainerInstallsThePolicyThatItMounts(t *testing.T) {
	pod := daemonSet(t, kustomize(t, "base")).Spec.Template.Spec
	c := pod.InitContainers[0]
	dirs := map[string]string{}
	for _, m := range c.VolumeMounts {
		dirs[m.MountPath] = t.TempDir()
	}
	args := slices.Clone(c.Command[1:])
	for i := range args {
		for mount, dir := range dirs {
			args[i] = strings.Replace(args[i], "="+mount, "="+dir, 1)
		}
	}
	install := func() []os.DirEntry {
		if out, err := exec.Command(program(t, "roce-host-device"), args...).CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		files, err := os.ReadDir(dirs["/host/etc/cni"])
		must(t, err)
		return files
	}
	if files := install(); len(files) != 0 { // an optional ConfigMap that is not there
		t.Errorf("installed %v", files)
	}
	must(t, os.WriteFile(filepath.Join(dirs["/policy"], "policy.json"), []byte("{}"), 0o600))
	if files := install(); len(files) != 1 || files[0].Name() != "roce-host-device.json" {
		t.Errorf("installed %v", files)
	}
	for _, v := range pod.Volumes {
		if v.Name == "policy" && !*v.ConfigMap.Optional {
			t.Error("without the ConfigMap no pod would start")
		}
	}
}

// A STATUS parses the configuration as an ADD does, and then looks for the NIC,
// which is not here.
func TestTheCNIPluginTakesEveryNetwork(t *testing.T) {
	networks := all[*network](kustomize(t, "overlays/exclusive"))
	for name, n := range exampleNetworks(t) {
		networks[name] = n
	}
	for name, n := range networks {
		config := map[string]any{}
		must(t, json.Unmarshal([]byte(n.Spec.Config), &config))
		config["cniVersion"] = "1.1.0" // the first with STATUS
		if n.Annotations["k8s.v1.cni.cncf.io/resourceName"] != "" {
			config["deviceID"], config["pciBusID"] = "ffff:00:00.0", "ffff:00:00.0" // as Multus does
		}
		if answer := status(t, config); answer.Code != 50 || !strings.Contains(answer.Msg, "no NIC with") {
			t.Errorf("%s: %+v", name, answer)
		}
	}
}

func TestTheCNIPluginTellsABadNetworkFromAMissingNIC(t *testing.T) {
	config := map[string]any{"cniVersion": "1.1.0", "name": "n", "type": "roce-host-device", "device": "none0", "rdmamode": "exclusive"}
	if answer := status(t, config); answer.Code != 7 || !strings.Contains(answer.Msg+answer.Details, "rdmaMode") {
		t.Errorf("%+v", answer)
	}
}

type answer struct {
	Code         uint
	Msg, Details string
}

func status(t *testing.T, config map[string]any) (a answer) {
	t.Helper()
	stdin, err := json.Marshal(config)
	must(t, err)
	cmd := exec.Command(program(t, "roce-host-device"))
	cmd.Env = []string{"CNI_COMMAND=STATUS", "CNI_PATH=/none"}
	cmd.Stdin = strings.NewReader(string(stdin))
	out, _ := cmd.Output() // an error is in the answer
	must(t, json.Unmarshal(out, &a))
	return a
}
