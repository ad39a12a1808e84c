package delegate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

var errTooMuch = errors.New("too much output")

// tooMuchError is for a plugin whose answer is larger than any can be.
func tooMuchError(path string) error {
	return fmt.Errorf("plugin %s wrote more than %d KiB to its standard output and was killed", filepath.Base(path), maxAnswer>>10)
}

// endedError is for a plugin that had not ended when its context was.
func endedError(ctx context.Context, start time.Time, path, end string) error {
	cause := context.Cause(ctx)
	deadline, ok := ctx.Deadline()
	switch name := filepath.Base(path); {
	case errors.Is(cause, errTooMuch):
		return tooMuchError(path)
	case ok && errors.Is(cause, context.DeadlineExceeded):
		within := deadline.Sub(start).Round(100 * time.Millisecond)
		return &ended{fmt.Sprintf("plugin %s did not answer within %s and %s", name, within, end), cause}
	default:
		return &ended{fmt.Sprintf("plugin %s %s: %v", name, end, cause), cause}
	}
}

// ended has the context's error without repeating its words.
type ended struct {
	msg   string
	cause error
}

func (e *ended) Error() string { return e.msg }
func (e *ended) Unwrap() error { return e.cause }

// failedError says why a plugin failed, as invoke.RawExec does: in the
// plugin's own words, if it has any. It is one line.
func failedError(path string, err error, stdout, stderr *output) error {
	name := filepath.Base(path)
	var start *startError
	if errors.As(err, &start) {
		return fmt.Errorf("start plugin %s: %w", name, err)
	}
	said := &types.Error{}
	jsonErr := json.Unmarshal(stdout.kept, said)
	switch {
	case jsonErr == nil && said.Msg != "":
		said.Msg, said.Details = oneLine(said.Msg), oneLine(said.Details)
		return said
	case len(stdout.kept) > 0:
		return types.NewError(types.ErrInternal, fmt.Sprintf("plugin %s failed (%v) and gave no reason but %s", name, err, quote(stdout)), "")
	case len(stderr.kept) > 0:
		return types.NewError(types.ErrInternal, fmt.Sprintf("plugin %s failed (%v): %s", name, err, quote(stderr)), "")
	}
	return types.NewError(types.ErrInternal, fmt.Sprintf("plugin %s failed without a message: %v", name, err), "")
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", "; ") }

// quote puts output on one line.
func quote(o *output) string {
	kept, cut := o.kept, o.cut
	if len(kept) > maxLog {
		kept, cut = kept[:maxLog], true
	}
	s := fmt.Sprintf("%q", strings.TrimSpace(string(kept)))
	if cut {
		s += " (cut off)"
	}
	return s
}

// A startError is for a plugin that was never started.
type startError struct{ err error }

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// A notFoundError is for a plugin that FindInPath has no file for.
type notFoundError struct{ msg string }

func (e *notFoundError) Error() string { return e.msg }

// NotFound tells whether there is no such plugin to run: no file of that name,
// ourselves, or a file that is not a program. It did nothing, nor can it have
// done anything before, unless it was removed since.
func NotFound(err error) bool {
	var found *notFoundError
	var start *startError
	if errors.As(err, &found) {
		return true
	}
	return errors.As(err, &start) &&
		(errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOEXEC))
}

// RefusedConfig tells whether a plugin ended because it could not read its
// configuration, so that it cannot have done anything with it at any time.
//
// The specification has codes for that. The libraries that plugins are made of
// use them for what is not JSON or is of another version. For everything else
// host-local and static have code 999, which they also give for a full disk. So
// the message must begin as those do that they have for their configuration
// alone; a part of it may be about the plugin's own data.
func RefusedConfig(err error) bool {
	var said *types.Error
	if !errors.As(err, &said) {
		return false
	}
	switch said.Code {
	case types.ErrIncompatibleCNIVersion, types.ErrUnsupportedField, types.ErrDecodingFailure, types.ErrInvalidNetworkConfig:
		return true
	case types.ErrInternal:
		return said.Details == "" && slices.ContainsFunc(refusals(), func(begin string) bool { return strings.HasPrefix(said.Msg, begin) })
	}
	return false
}

// refusals are how the messages begin of host-local and static about a
// configuration that they cannot use, and before them those of encoding/json and
// net, which they pass on. Source: LoadIPAMConfig in
// plugins/ipam/host-local/backend/allocator/config.go and plugins/ipam/static/main.go
// of containernetworking/plugins 1.9.
func refusals() []string {
	return []string{
		"json: cannot unmarshal ", "invalid CIDR address: ",
		"IPAM config missing 'ipam' key", "no IP ranges specified", "invalid range set ", "range set ",
		"the 'ip' field is expected to be in CIDR notation", "an entry in the 'ips' field is NOT in CIDR notation",
		"invalid address ", "invalid gateway address: ",
	}
}
