package main

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// refName is the annotation of an OCI layout that names what is in it.
const refName = "org.opencontainers.image.ref.name"

// An artefact is something that goes to a registry: repository below the
// project's own, tag and digest.
type artefact struct {
	repository, tag string
	digest          v1.Hash
}

func (a artefact) reference() string { return a.repository + ":" + a.tag }

// annotations name it in a release's layout.
func (a artefact) annotations() map[string]string { return map[string]string{refName: a.reference()} }

// artefactOf reads that name.
func artefactOf(d v1.Descriptor) (artefact, error) {
	repository, tag, ok := strings.Cut(strings.TrimPrefix(d.Annotations[refName], home+"/"), ":")
	if !ok || repository == "" {
		return artefact{}, fmt.Errorf("%s is called %q; want repository and tag", d.Digest, d.Annotations[refName])
	}
	return artefact{repository, tag, d.Digest}, nil
}

// An image is one for several architectures, as images/build writes it.
type image struct {
	artefact artefact
	index    v1.ImageIndex
	trees    map[string]*tree // by architecture
}

// openImage reads the one image of an OCI layout.
func openImage(folder string) (*image, error) {
	root, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return nil, err
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return nil, err
	}
	if len(manifest.Manifests) != 1 {
		return nil, fmt.Errorf("%d images", len(manifest.Manifests))
	}
	i := &image{trees: map[string]*tree{}}
	if i.artefact, err = artefactOf(manifest.Manifests[0]); err != nil {
		return nil, err
	}
	if i.index, err = root.ImageIndex(i.artefact.digest); err != nil {
		return nil, err
	}
	if manifest, err = i.index.IndexManifest(); err != nil {
		return nil, err
	}
	for _, m := range manifest.Manifests {
		one, err := i.index.Image(m.Digest)
		if err != nil {
			return nil, err
		}
		if i.trees[m.Platform.Architecture], err = extract(one); err != nil {
			return nil, fmt.Errorf("%s: %w", m.Platform.Architecture, err)
		}
	}
	return i, nil
}

// A tree is the regular files of an image, by path.
type tree struct{ files map[string]file }

type file struct {
	mode    int64
	content []byte
}

// paths are in order.
func (t *tree) paths() []string { return slices.Sorted(maps.Keys(t.files)) }

func extract(image v1.Image) (*tree, error) {
	stream := mutate.Extract(image)
	defer func() { _ = stream.Close() }()
	t := &tree{map[string]file{}}
	for r := tar.NewReader(stream); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return t, nil
		}
		if err != nil {
			return nil, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		content, err := io.ReadAll(r)
		if err != nil {
			return nil, err
		}
		t.files[header.Name] = file{header.Mode, content}
	}
}
