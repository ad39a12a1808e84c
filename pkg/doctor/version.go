package doctor

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"time"
)

// askPlugin is how long a plugin may take to say its version.
const askPlugin = 10 * time.Second

// AskVersion runs a CNI plugin without a command, which has it say what it is
// and do nothing: "CNI plugin roce-host-device v1", on standard error (skel).
func AskVersion(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, askPlugin)
	defer cancel()
	var said bytes.Buffer
	cmd := exec.CommandContext(ctx, path)
	cmd.Env, cmd.Stderr = []string{}, &said
	cmd.WaitDelay = time.Second // what it has started may hold on to its standard error
	if err := cmd.Run(); err != nil {
		return "", err
	}
	line, _, _ := strings.Cut(said.String(), "\n")
	_, version, _ := strings.Cut(line, pluginName+" ")
	return strings.TrimSpace(version), nil
}
