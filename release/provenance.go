package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
)

// Of in-toto's statements and SLSA's provenance, the fields that are known here:
// https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md and
// https://slsa.dev/spec/v1.0/provenance
type statement struct {
	Type          string    `json:"_type"`
	Subject       []subject `json:"subject"`
	PredicateType string    `json:"predicateType"`
	Predicate     any       `json:"predicate"`
}

type subject struct {
	Name   string            `json:"name,omitempty"`
	URI    string            `json:"uri,omitempty"`
	Digest map[string]string `json:"digest"`
}

const (
	statementType  = "https://in-toto.io/Statement/v1"
	provenanceType = "https://slsa.dev/provenance/v1"
	bomType        = "https://cyclonedx.org/bom"
)

type provenance struct {
	BuildDefinition struct {
		BuildType            string            `json:"buildType"`
		ExternalParameters   map[string]string `json:"externalParameters"`
		InternalParameters   map[string]string `json:"internalParameters"`
		ResolvedDependencies []subject         `json:"resolvedDependencies"`
	} `json:"buildDefinition"`
	RunDetails struct {
		Builder struct {
			ID string `json:"id"`
		} `json:"builder"`
	} `json:"runDetails"`
}

// materials are the files of the source that pin what comes from elsewhere.
func materials(source string) ([]string, error) {
	files := []string{"go.mod", "go.sum", "images/oci/go.mod", "images/oci/go.sum", "release/go.mod", "release/go.sum"}
	pinned, err := filepath.Glob(filepath.Join(source, "images/rdma-tools/packages.*"))
	for _, file := range pinned {
		files = append(files, "images/rdma-tools/"+filepath.Base(file))
	}
	return files, err
}

// provenance says what the files and artefacts were made from, and by whom. It has
// no time of day: it is the same for whoever builds the same with the builder's URI.
func (b build) provenance(files map[string][]byte, artefacts []artefact) ([]byte, error) {
	s := statement{Type: statementType, PredicateType: provenanceType}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		s.Subject = append(s.Subject, subject{Name: name, Digest: map[string]string{"sha256": digestOf(files[name])}})
	}
	for _, a := range artefacts {
		s.Subject = append(s.Subject, subject{Name: home + "/" + a.repository, Digest: map[string]string{"sha256": a.digest.Hex}})
	}
	var p provenance
	d := &p.BuildDefinition
	d.BuildType = "https://" + module + "/blob/v" + b.version + "/docs/releasing.md#build"
	d.ExternalParameters = map[string]string{"version": b.version, "source": "https://" + module}
	d.InternalParameters = map[string]string{"go": runtime.Version()}
	d.ResolvedDependencies = []subject{{
		URI: fmt.Sprintf("git+https://%s@%s", module, b.commit), Digest: map[string]string{"gitCommit": b.commit},
	}}
	pins, err := materials(b.source)
	if err != nil {
		return nil, err
	}
	for _, name := range pins {
		content, err := os.ReadFile(filepath.Join(b.source, name))
		if err != nil {
			return nil, err
		}
		d.ResolvedDependencies = append(d.ResolvedDependencies, subject{Name: name, Digest: map[string]string{"sha256": digestOf(content)}})
	}
	p.RunDetails.Builder.ID = b.builder
	s.Predicate = p
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}
