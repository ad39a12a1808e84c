package main

import (
	"bytes"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/partial"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// withConfig gives a manifest a configuration that is not an image's.
func withConfig(image v1.Image, config []byte, mediaType types.MediaType) (v1.Image, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return nil, err
	}
	digest, size, err := v1.SHA256(bytes.NewReader(config))
	if err != nil {
		return nil, err
	}
	manifest = manifest.DeepCopy()
	manifest.Config = v1.Descriptor{MediaType: mediaType, Size: size, Digest: digest}
	return &configured{image, manifest, config}, nil
}

// configured is an image with another configuration.
type configured struct {
	v1.Image
	manifest *v1.Manifest
	config   []byte
}

func (c *configured) Manifest() (*v1.Manifest, error)     { return c.manifest, nil }
func (c *configured) RawManifest() ([]byte, error)        { return partial.RawManifest(c) }
func (c *configured) RawConfigFile() ([]byte, error)      { return c.config, nil }
func (c *configured) Digest() (v1.Hash, error)            { return partial.Digest(c) }
func (c *configured) Size() (int64, error)                { return partial.Size(c) }
func (c *configured) ConfigName() (v1.Hash, error)        { return c.manifest.Config.Digest, nil }
func (c *configured) MediaType() (types.MediaType, error) { return c.manifest.MediaType, nil }
