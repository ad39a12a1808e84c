package main

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
	"time"
)

// The parts of a CycloneDX 1.6 document that this one has:
// https://cyclonedx.org/docs/1.6/json
type bom struct {
	Format       string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version"`
	Licenses   []license  `json:"licenses"`
	PURL       string     `json:"purl"`
	Properties []property `json:"properties,omitempty"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// A linked module is one that a program says it has in it.
type linked struct{ path, version, sum string }

func (l linked) purl() string { return "pkg:golang/" + strings.ToLower(l.path) + "@" + l.version }

// bom lists what is linked into the programs, with licences, from what the
// programs themselves say (`go version -m`), for all architectures.
func (b build) bom(trees []*tree) ([]byte, error) {
	modules, uses := map[linked]bool{}, map[string]map[string]bool{}
	for _, t := range trees {
		for _, name := range t.paths() {
			if strings.Contains(name, "/") || t.files[name].mode&0o100 == 0 {
				continue
			}
			links, err := linkedInto(t.files[name].content)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			if uses[name] == nil {
				uses[name] = map[string]bool{}
			}
			for _, l := range links {
				modules[l], uses[name][l.purl()] = true, true
			}
		}
	}
	self := linked{module, "v" + b.version, ""}
	licenses, err := licensesOf(trees[0], module)
	if err != nil {
		return nil, err
	}
	root := component{Type: "application", Ref: self.purl(), Name: product, Version: b.version, Licenses: licenses, PURL: self.purl()}
	document := bom{
		Format: "CycloneDX", SpecVersion: "1.6", SerialNumber: serial(b.version + " " + b.commit), Version: 1,
		Metadata: metadata{b.date.Format(time.RFC3339), root}, Components: []component{}, Dependencies: []dependency{},
	}
	contains := dependency{Ref: root.Ref, DependsOn: []string{}}
	for _, name := range slices.Sorted(maps.Keys(uses)) {
		ref := self.purl() + "#cmd/" + name
		document.Components = append(document.Components, component{
			Type: "application", Ref: ref, Name: name, Version: b.version, Licenses: licenses, PURL: ref,
		})
		contains.DependsOn = append(contains.DependsOn, ref)
		document.Dependencies = append(document.Dependencies, dependency{ref, slices.Sorted(maps.Keys(uses[name]))})
	}
	document.Dependencies = append(document.Dependencies, contains)
	for _, l := range slices.SortedFunc(maps.Keys(modules), func(a, b linked) int { return strings.Compare(a.purl(), b.purl()) }) {
		licenses, err := licensesOf(trees[0], l.path)
		if err != nil {
			return nil, err
		}
		c := component{Type: "library", Ref: l.purl(), Name: l.path, Version: l.version, Licenses: licenses, PURL: l.purl()}
		if l.sum != "" {
			c.Properties = []property{{"go.sum", l.sum}}
		}
		document.Components = append(document.Components, c)
	}
	text, err := json.MarshalIndent(document, "", "  ")
	return append(text, '\n'), err
}

// linkedInto are the modules that a program has in it, and Go's own library.
func linkedInto(program []byte) ([]linked, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, err
	}
	all := []linked{{"std", strings.TrimPrefix(info.GoVersion, "go"), ""}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		all = append(all, linked{m.Path, m.Version, m.Sum})
	}
	return all, nil
}

// serial is a UUID of what the document is about, of the version for a digest.
func serial(of string) string {
	d := sha256.Sum256([]byte(of))
	d[6], d[8] = d[6]&0x0f|0x80, d[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", d[:4], d[4:6], d[6:8], d[8:10], d[10:16])
}

// licensesOf are the licences of a module, from its texts in the image.
func licensesOf(t *tree, module string) (licenses []license, err error) {
	found := map[string]bool{}
	for _, name := range t.paths() {
		if path.Dir(name) == path.Join("licenses", module) {
			for _, id := range identify(t.files[name].content) {
				found[id] = true
			}
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("no licence of %s is known; see images/licenses, and identify in spdx.go", module)
	}
	for _, id := range slices.Sorted(maps.Keys(found)) {
		l := license{}
		l.License.ID = id
		licenses = append(licenses, l)
	}
	return licenses, nil
}
