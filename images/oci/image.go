package main

import (
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// allArchitectures are those of servers with RoCE NICs.
const allArchitectures = "amd64 arm64"

// options are what an image is made of.
type options struct {
	roots                     string // a folder with the root folder of each architecture
	architectures             string // with a blank between two
	entrypoint                string // a program's path, or none
	path                      string // where programs are looked for, or none
	name                      string
	title, description        string
	licenses                  string // an SPDX expression; none for a collection
	version, revision, source string
	created                   time.Time
}

// index is the image for all architectures.
func (o options) index() (v1.ImageIndex, error) {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, architecture := range strings.Fields(o.architectures) {
		image, err := o.image(architecture)
		if err != nil {
			return nil, fmt.Errorf("image for %s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image, Descriptor: v1.Descriptor{
			Platform: &v1.Platform{OS: "linux", Architecture: architecture},
		}})
	}
	return index, nil
}

func (o options) image(architecture string) (v1.Image, error) {
	files, err := o.layer(filepath.Join(o.roots, architecture))
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files)), nil
	}, tarball.WithMediaType(types.OCILayer), tarball.WithCompressedCaching)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{
		Created: v1.Time{Time: o.created}, CreatedBy: "images/build",
	}}); err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, v1.Time{Time: o.created}
	config.Config = v1.Config{Labels: o.labels()}
	if o.entrypoint != "" {
		config.Config.Entrypoint = []string{o.entrypoint}
	}
	if o.path != "" {
		config.Config.Env = []string{"PATH=" + o.path}
	}
	return mutate.ConfigFile(image, config)
}

// labels are those of the OCI image specification (annotations.md).
func (o options) labels() map[string]string {
	labels := map[string]string{}
	for key, value := range map[string]string{
		"title":       o.title,
		"description": o.description,
		"source":      o.source,
		"licenses":    o.licenses,
		"version":     o.version,
		"revision":    o.revision,
		"created":     o.created.Format(time.RFC3339),
	} {
		if value != "" {
			labels["org.opencontainers.image."+key] = value
		}
	}
	return labels
}
