package selftest

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	pluginName = "roce-host-device"
	// network is the name of all configurations of the test: a record with it in
	// the journal is a test's.
	network = "roce-selftest"
	// ifName is what a NIC is called in its pod.
	ifName = "net1"
	// patience is how long a command of the plugin may take.
	patience = 2 * time.Minute
)

// A plugin is the CNI plugin's program, with the folder that it is in.
type plugin struct{ dir string }

// An attachment says which one a command is about.
type attachment struct{ container, ifName, netns string }

// A refusal is the plugin's answer when it fails.
type refusal struct {
	Code         uint
	Msg, Details string
}

func (r *refusal) Error() string {
	text := fmt.Sprintf("code %d: %s", r.Code, r.Msg)
	if r.Details != "" {
		text += "; " + r.Details
	}
	return text
}

// call runs a command of the plugin and returns what it printed. It is not
// ended when somebody wants the test to end: whoever moves a NIC must get to a
// place from where it can be moved back.
func (p plugin) call(command string, a attachment, config any) ([]byte, error) {
	stdin, err := json.Marshal(config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.dir, pluginName))
	cmd.Env = []string{
		"CNI_COMMAND=" + command, "CNI_CONTAINERID=" + a.container, "CNI_IFNAME=" + a.ifName, "CNI_NETNS=" + a.netns, "CNI_PATH=" + p.dir,
		"CNI_ARGS=IgnoreUnknown=1;K8S_POD_NAMESPACE=" + namespace + ";K8S_POD_NAME=" + network, "PATH=" + os.Getenv("PATH"),
	}
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a terminal's ^C is for us
	if err = cmd.Run(); err == nil {
		return stdout.Bytes(), nil
	}
	answer := &refusal{}
	if json.Unmarshal(stdout.Bytes(), answer) == nil && answer.Msg != "" {
		return nil, answer
	}
	return nil, fmt.Errorf("%s %s: %w: %s", pluginName, command, err, bytes.TrimSpace(stderr.Bytes()))
}

// namespace is the Kubernetes namespace that the test's pods say they are in, for
// a node's policy.
const namespace = "kube-system"

// has tells whether there is another plugin beside this one.
func (p plugin) has(name string) bool {
	_, err := os.Stat(filepath.Join(p.dir, name))
	return err == nil
}

// version is the newest version of CNI that the plugin speaks.
func (p plugin) version() (string, error) {
	out, err := p.call("VERSION", attachment{}, config{CNIVersion: "1.0.0"})
	if err != nil {
		return "", err
	}
	var answer struct{ SupportedVersions []string }
	if err := json.Unmarshal(out, &answer); err != nil || len(answer.SupportedVersions) == 0 {
		return "", fmt.Errorf("its answer to VERSION is %q", bytes.TrimSpace(out))
	}
	return answer.SupportedVersions[len(answer.SupportedVersions)-1], nil
}
