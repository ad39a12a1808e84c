package deployments

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// discovered is what `discover` prints of the guide's node.
func discovered(t *testing.T, flags ...string) []byte {
	t.Helper()
	args := slices.Concat([]string{"discover", "merge"}, flags, []string{"../../pkg/discovery/testdata/fake-guide-node.json"})
	out, err := exec.Command(program(t, "rdma-device-plugin"), args...).Output()
	must(t, err)
	return out
}

func TestAllThatDiscoverPrintsIsTaken(t *testing.T) {
	for name, flags := range map[string][]string{
		"the guide's":       nil,
		"with routers":      {"--gateway=first"},
		"one subnet":        {"--range=192.168.0.0/20"},
		"IPv6, another MTU": {"--range=fd00:N::/64", "--mtu=4200"},
		"host-local":        {"--ipam=host-local", "--range=10.0.N.0/24", "--gateway=10.0.N.254"},
		"DHCP":              {"--ipam=dhcp"},
		"the host's":        {"--ipam=keep"},
	} {
		t.Run(name, func(t *testing.T) {
			o := decode(t, discovered(t, flags...))
			if len(o) != 10 || len(all[*network](o)) != 8 || len(all[*corev1.Pod](o)) != 1 {
				t.Errorf("%d objects", len(o))
			}
			for name, n := range all[*network](o) {
				config := cniConfig(t, n)
				config["cniVersion"] = "1.1.0"
				if answer := status(t, config); answer.Code != 50 {
					t.Errorf("the CNI plugin says of %s: %+v", name, answer)
				}
			}
			for name, c := range all[*corev1.ConfigMap](o) {
				file := filepath.Join(t.TempDir(), "config.json")
				must(t, os.WriteFile(file, []byte(c.Data["config.json"]), 0o600))
				if out, err := exec.Command(program(t, "rdma-device-plugin"), "validate", file).CombinedOutput(); err != nil {
					t.Errorf("validate says of %s: %v: %s", name, err, out)
				}
			}
			// The chart makes the same of the values, except for the pod.
			got, err := template(t, values(t, string(discovered(t, append(flags, "-o=values")...))))
			must(t, err)
			for name, object := range got {
				switch object := object.(type) {
				case *network:
					object.Namespace = ""
				case *corev1.ConfigMap:
				default:
					delete(got, name)
				}
			}
			for name := range all[*corev1.Pod](o) {
				delete(o, name)
			}
			same(t, byName(got), byName(o))
		})
	}
}

// byName has no namespaces in its keys.
func byName(o objects) objects {
	named := objects{}
	for _, object := range o {
		named[object.GetName()] = object
	}
	return named
}
