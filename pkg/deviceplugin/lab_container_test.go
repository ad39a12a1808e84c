package deviceplugin

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"go.yaml.in/yaml/v3"
	"golang.org/x/sys/unix"
)

// A manifest is what the tests want to know of the DaemonSet.
type manifest struct {
	Spec struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Args         []string
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name     string
					HostPath struct{ Path string } `yaml:"hostPath"`
				}
			}
		}
	}
}

// startInContainer runs the program as the DaemonSet does: with a root folder of
// its own that has what the manifest mounts there, and nothing else of the
// machine.
func (n *testNode) startInContainer() {
	n.Helper()
	text, err := os.ReadFile(os.Getenv("ROCE_DAEMONSET"))
	n.Must(err)
	var m manifest
	n.Must(yaml.Unmarshal(text, &m))
	pod := m.Spec.Template.Spec
	hostPaths := map[string]string{}
	for _, v := range pod.Volumes {
		hostPaths[v.Name] = v.HostPath.Path
	}
	root, program := filepath.Join(n.Dir, "root"), filepath.Join(os.Getenv("ROCE_CNI_PATH"), "rdma-device-plugin")
	n.Must(os.Mkdir(root, 0o755))
	n.command("cp " + program + " " + root)
	started := make(chan *exec.Cmd, 1)
	go func() {
		runtime.LockOSThread() // for good: it has a mount namespace of its own
		defer close(started)
		err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		bind := func(from, to string, readOnly bool) {
			to = filepath.Join(root, to)
			for _, step := range []func() error{
				func() error { return os.MkdirAll(from, 0o755) },
				func() error { return os.MkdirAll(to, 0o755) },
				func() error { return unix.Mount(from, to, "", unix.MS_BIND|unix.MS_REC, "") },
				func() error {
					if !readOnly {
						return nil
					}
					return unix.Mount("", to, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, "")
				},
			} {
				if err == nil {
					err = step()
				}
			}
		}
		bind("/proc", "/proc", false)
		bind("/sys", "/sys", true)
		for _, mount := range pod.Containers[0].VolumeMounts {
			bind(n.onThisNode(mount.Name, hostPaths[mount.Name]), mount.MountPath, mount.ReadOnly)
		}
		cmd := exec.Command("/rdma-device-plugin", append(pod.Containers[0].Args, "--metrics-address=", "--log-format=text")...)
		cmd.Stdout, cmd.Stderr = n.Logs, n.Logs
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Pdeathsig: syscall.SIGKILL}
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			n.Errorf("start the container: %v", err)
			return
		}
		started <- cmd
		_ = cmd.Wait() // the thread must live as long
	}()
	cmd := <-started
	if cmd == nil {
		n.FailNow()
	}
	n.Cleanup(func() { _ = cmd.Process.Kill() })
}

// onThisNode is the folder that stands for a volume of the manifest.
func (n *testNode) onThisNode(volume, hostPath string) string {
	switch below, kubelets := strings.CutPrefix(hostPath, "/var/lib/kubelet/"); {
	case kubelets:
		return filepath.Join(n.Dir, below)
	case volume == "state":
		return n.State()
	case hostPath != "":
		return hostPath
	}
	return filepath.Join(n.Dir, "volumes", volume)
}
