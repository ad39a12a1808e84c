package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// check says whether the folder has what was built of the commit, no more and no
// less, and is the sums, which are to be signed: they are of the files, the
// provenance among them, which has the digests of what is in the layout, where a
// blob's name is its digest.
func (p publication) check(layout *v1.IndexManifest) (sums []byte, err error) {
	sums, err = p.checkSums()
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(p.folder, provenanceFile(p.version)))
	if err != nil {
		return nil, err
	}
	var said struct {
		Subject   []subject
		Predicate provenance
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return nil, fmt.Errorf("%s: %w", provenanceFile(p.version), err)
	}
	for _, m := range said.Predicate.BuildDefinition.ResolvedDependencies {
		if commit := m.Digest["gitCommit"]; commit != "" && commit != p.commit {
			return nil, fmt.Errorf("%s was built from commit %s, this is %s: make the release again", p.folder, commit, p.commit)
		}
	}
	if err := p.checkLayout(layout, said.Subject); err != nil {
		return nil, fmt.Errorf("%s: %w: make the release again", filepath.Join(p.folder, layoutFolder), err)
	}
	return sums, nil
}

// checkSums reads the sums of a release, and checks the files.
func (p publication) checkSums() ([]byte, error) {
	text, err := os.ReadFile(filepath.Join(p.folder, sumsFile))
	if err != nil {
		return nil, err
	}
	checked := map[string]bool{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		sum, name, ok := strings.Cut(lines.Text(), "  ")
		if !ok || name != filepath.Base(name) {
			return nil, fmt.Errorf("%s: %q is no sum", sumsFile, lines.Text())
		}
		content, err := os.ReadFile(filepath.Join(p.folder, name))
		if err != nil {
			return nil, err
		}
		if digestOf(content) != sum {
			return nil, fmt.Errorf("%s is not what %s says: make the release again", name, sumsFile)
		}
		checked[name] = true
	}
	if file := provenanceFile(p.version); !checked[file] {
		return nil, fmt.Errorf("%s has no %s: make the release of this version first", sumsFile, file)
	}
	return text, nil
}

// checkLayout compares what is to be pushed with the subjects of the provenance.
func (p publication) checkLayout(layout *v1.IndexManifest, subjects []subject) error {
	built := map[string]string{}
	for _, s := range subjects {
		if repository, ok := strings.CutPrefix(s.Name, home+"/"); ok {
			built[repository] = s.Digest["sha256"]
		}
	}
	for _, d := range layout.Manifests {
		a, err := artefactOf(d)
		if err != nil {
			return err
		}
		if a.tag != p.version || a.digest.Hex != built[a.repository] {
			return fmt.Errorf("the provenance knows no %s with %s", a.reference(), a.digest)
		}
		delete(built, a.repository)
	}
	for repository, digest := range built {
		return fmt.Errorf("there is no %s with sha256:%s, which the provenance has", repository, digest)
	}
	blobs := filepath.Join(p.folder, layoutFolder, "blobs", "sha256")
	entries, err := os.ReadDir(blobs)
	if err != nil {
		return err
	}
	for _, e := range entries {
		content, err := os.ReadFile(filepath.Join(blobs, e.Name()))
		if err != nil {
			return err
		}
		if digestOf(content) != e.Name() {
			return fmt.Errorf("the blob %s has another digest", e.Name())
		}
	}
	return nil
}

// checkTag refuses to move a tag: who has pulled it has another thing of that name.
func checkTag(tag name.Tag, digest v1.Hash, with ...remote.Option) error {
	there, err := remote.Head(tag, with...)
	var answer *transport.Error
	if errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if there.Digest != digest {
		return fmt.Errorf("%s is published already, with %s and not with %s: make a new version", tag, there.Digest, digest)
	}
	return nil
}
