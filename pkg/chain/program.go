package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/types"
)

// answerTime is what a program has to say whether it can do something.
const answerTime = 10 * time.Second

// Program tells why the plugin in a folder cannot be in a list: it is not there, or
// it is of a release that does not know claims, which refuses such a configuration.
func Program(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	path := filepath.Join(dir, Plugin)
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"CNI_COMMAND=STATUS", "CNI_PATH=" + dir}
	cmd.Stdin = bytes.NewReader([]byte(`{"cniVersion": "1.1.0", "name": "claims", "type": "` + Plugin + `", "claims": true}`))
	out, err := cmd.Output()
	if err == nil {
		return nil
	}
	var answer types.Error
	switch {
	case cmd.ProcessState == nil: // it did not start
		return fmt.Errorf("%w; install the CNI plugin", err)
	case json.Unmarshal(out, &answer) == nil && answer.Code == types.ErrInvalidNetworkConfig:
		return fmt.Errorf("%s does not know claims (%w); install that of this release", path, &answer)
	}
	return nil // whatever is wrong with the node now, an ADD says it
}
