package cluster

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/roce-k8s/roce-k8s/test/e2e/node"
)

// Registry is the registry's address. It speaks HTTP.
func (c *ControlPlane) Registry() string { return fmt.Sprintf("%s:%d", c.Address, node.RegistryPort) }

// StartRegistry starts a registry, which the nodes take for ghcr.io, and pushes
// images to it: OCI layouts in tar files, each named as it is there.
func (c *ControlPlane) StartRegistry(ctx context.Context, archives ...string) error {
	listener, err := net.Listen("tcp", c.Registry())
	if err != nil {
		return err
	}
	c.registry = &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0)))}
	go func() { _ = c.registry.Serve(listener) }()
	for _, archive := range archives {
		if err := push(ctx, archive, c.Registry()); err != nil {
			return fmt.Errorf("push %s: %w", archive, err)
		}
	}
	return nil
}

func push(ctx context.Context, archive, address string) error {
	folder, err := os.MkdirTemp("", "layout-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(folder)
	if out, err := exec.CommandContext(ctx, "tar", "-xf", archive, "-C", folder).CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	root, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return err
	}
	for _, d := range manifest.Manifests {
		image, err := root.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		called, err := name.NewTag(strings.Replace(d.Annotations["org.opencontainers.image.ref.name"], "ghcr.io", address, 1), name.Insecure)
		if err != nil {
			return err
		}
		if err := remote.WriteIndex(called, image, remote.WithContext(ctx)); err != nil {
			return err
		}
	}
	return nil
}
