package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

// Probe asks the instance that serves a unix socket for /healthz or /readyz;
// a bad answer is the error. While a DaemonSet rolls out, two instances share
// the node's network, and on its one port for probes the other one may answer:
// believing that would end the old instance before the new one is registered.
func Probe(ctx context.Context, socket, path string) error {
	return ask(ctx, socket, http.MethodGet, path, "")
}

// Forget has the instance that serves a unix socket forget a device that is
// gone for good.
func Forget(ctx context.Context, socket, device string) error {
	method, path, _ := strings.Cut(forgetPath, " ")
	return ask(ctx, socket, method, path, device)
}

// ask asks the instance that serves a unix socket; a bad answer is the error.
func ask(ctx context.Context, socket, method, path, body string) error {
	response, err := endpoint.Unix(socket).Ask(ctx, method, path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("no instance answers: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	said, err := io.ReadAll(io.LimitReader(response.Body, 4096))
	if response.StatusCode == http.StatusOK && err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("%s: %s: %s", path, response.Status, strings.TrimSpace(string(said))), err)
}
