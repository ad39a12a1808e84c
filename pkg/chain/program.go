package chain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// answerTime is what a program has to say whether it can do something.
const answerTime = 10 * time.Second

// unfit tells why the plugin in a folder cannot be in a list, nil if it can: it is
// not there, or it is of a release that does not know claims, which refuses such a
// configuration. An error says that this could not be found out.
func unfit(ctx context.Context, dir string) (why, err error) {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	path := filepath.Join(dir, Plugin)
	cmd := exec.CommandContext(ctx, path)
	cmd.Env = []string{"CNI_COMMAND=STATUS", "CNI_PATH=" + dir}
	cmd.Stdin = bytes.NewReader([]byte(`{"cniVersion": "1.1.0", "name": "claims", "type": "` + Plugin + `", "claims": true}`))
	out, err := cmd.Output()
	var answer types.Error
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil, nil
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrPermission), errors.Is(err, unix.ENOEXEC):
		return fmt.Errorf("%w; install the CNI plugin", err), nil
	case !errors.As(err, &ended): // no memory, or the file is being written
		return nil, err
	case json.Unmarshal(out, &answer) == nil && answer.Code == types.ErrInvalidNetworkConfig:
		return fmt.Errorf("%s does not know claims (%w); install that of this release", path, &answer), nil
	}
	return nil, nil // whatever is wrong with the node now, an ADD says it
}
