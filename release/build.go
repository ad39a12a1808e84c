package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// product is the name of the image, of the chart, and of every file.
const product = "roce-k8s"

// The images are below home.
const (
	home   = "ghcr.io/roce-k8s"
	module = "github.com/roce-k8s/roce-k8s"
)

// What a release's folder has beside the files that are named by version.
const (
	layoutFolder = "oci" // image, chart and the examples' image: an OCI layout
	sumsFile     = "SHA256SUMS"
	sumsSigned   = sumsFile + ".sig" // these are publish's
	publicKey    = "cosign.pub"
)

func bomFile(version string) string        { return product + "-" + version + ".cdx.json" }
func provenanceFile(version string) string { return product + "-" + version + ".provenance.json" }

// A build is what a release is made of. The same gives the same bytes.
type build struct {
	version, commit, source, builder string
	date                             time.Time
	images                           []string // OCI layouts, that of the product first
	out                              string
}

// run writes a release.
func (b build) run(stdout io.Writer) error {
	if err := agree(b.source, b.version); err != nil {
		return err
	}
	if err := replaceable(b.out); err != nil {
		return err
	}
	if err := os.RemoveAll(b.out); err != nil {
		return err
	}
	if err := os.MkdirAll(b.out, 0o755); err != nil {
		return err
	}
	files := map[string][]byte{}
	to, err := layout.Write(filepath.Join(b.out, layoutFolder), empty.Index)
	if err != nil {
		return err
	}
	var artefacts []artefact
	for i, folder := range b.images {
		image, err := openImage(folder)
		if err != nil {
			return fmt.Errorf("image of %s: %w", folder, err)
		}
		if i == 0 {
			if err := b.programs(image, files); err != nil {
				return err
			}
		}
		artefacts = append(artefacts, image.artefact)
		if err := to.AppendIndex(image.index, layout.WithAnnotations(image.artefact.annotations())); err != nil {
			return err
		}
	}
	chart, archive, err := b.chart()
	if err != nil {
		return fmt.Errorf("the chart: %w", err)
	}
	files[product+"-"+b.version+".tgz"] = archive
	digest, err := chart.Digest()
	if err != nil {
		return err
	}
	packed := artefact{"charts/" + product, b.version, digest}
	if err := to.AppendImage(chart, layout.WithAnnotations(packed.annotations())); err != nil {
		return err
	}
	artefacts = append(artefacts, packed)
	if files[provenanceFile(b.version)], err = b.provenance(files, artefacts); err != nil {
		return fmt.Errorf("the provenance: %w", err)
	}
	files[sumsFile] = sums(files)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := os.WriteFile(filepath.Join(b.out, name), files[name], 0o644); err != nil {
			return err
		}
	}
	_, _ = stdout.Write(files[sumsFile])
	for _, a := range artefacts {
		_, _ = fmt.Fprintf(stdout, "%s/%s@%s\n", home, a.reference(), a.digest)
	}
	return nil
}

// replaceable refuses a folder with anything that is of no release: the folder comes
// from whoever calls, and is removed.
func replaceable(folder string) error {
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		name := e.Name()
		ours := strings.HasPrefix(name, product+"-") || slices.Contains([]string{sumsFile, sumsSigned, publicKey}, name)
		if e.IsDir() {
			ours = name == layoutFolder
		}
		if !ours {
			return fmt.Errorf("%s has %s, which is of no release, and would be removed: use a folder of its own", folder, name)
		}
	}
	return err
}

// programs adds what is made of the programs in the product's image: a tarball for
// each architecture, and the bill of materials.
func (b build) programs(image *image, files map[string][]byte) error {
	var all []*tree
	for _, architecture := range slices.Sorted(maps.Keys(image.trees)) {
		name := fmt.Sprintf("%s-%s-linux-%s", product, b.version, architecture)
		tarball, err := archive(name, image.trees[architecture], b.date)
		if err != nil {
			return err
		}
		files[name+".tar.gz"] = tarball
		all = append(all, image.trees[architecture])
	}
	bom, err := b.bom(all)
	if err != nil {
		return fmt.Errorf("the bill of materials: %w", err)
	}
	files[bomFile(b.version)] = bom
	return nil
}
