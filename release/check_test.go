package main

import (
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/match"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// small is a release of the chart alone, which needs nothing built, and a registry
// that counts what it is asked.
func small(t *testing.T) (p publication, asked *atomic.Int32) {
	t.Helper()
	asked = new(atomic.Int32)
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	p = publication{
		folder: t.TempDir(), registry: strings.TrimPrefix(server.URL, "http://") + "/roce-k8s",
		version: version(t), commit: "0123456789abcdef", password: password,
	}
	p.key, _ = newKey(t)
	p.build(t, time.Unix(1_700_000_000, 0))
	return p, asked
}

// build makes that release; one of another commit has another time.
func (p publication) build(t *testing.T, date time.Time) {
	t.Helper()
	must(t, build{version: p.version, commit: p.commit, source: "..", date: date, out: p.folder}.run(io.Discard))
}

func TestALayoutThatIsNotWhatWasBuiltIsNotPublished(t *testing.T) {
	chart := artefact{repository: "charts/" + product, tag: version(t)}
	for name, change := range map[string]struct {
		make func(*testing.T, layout.Path)
		want string
	}{
		"another artefact under its name": {func(t *testing.T, to layout.Path) {
			must(t, to.ReplaceImage(empty.Image, match.Name(chart.reference()), layout.WithAnnotations(chart.annotations())))
		}, "the provenance knows no charts/roce-k8s:" + version(t) + " with "},
		"one that was not built": {func(t *testing.T, to layout.Path) {
			must(t, to.AppendImage(empty.Image, layout.WithAnnotations(artefact{repository: product, tag: version(t)}.annotations())))
		}, "the provenance knows no roce-k8s:" + version(t) + " with "},
		"twice the same": {func(t *testing.T, to layout.Path) {
			must(t, to.AppendDescriptor(only(t, to)))
		}, "the provenance knows no charts/roce-k8s:" + version(t) + " with "},
		"another version": {func(t *testing.T, to layout.Path) {
			d := only(t, to)
			d.Annotations = artefact{repository: chart.repository, tag: "0.9.0"}.annotations()
			must(t, to.RemoveDescriptors(match.Digests(d.Digest)))
			must(t, to.AppendDescriptor(d))
		}, "the provenance knows no charts/roce-k8s:0.9.0 with "},
		"nothing": {func(t *testing.T, to layout.Path) {
			must(t, to.RemoveDescriptors(match.Name(chart.reference())))
		}, "there is no charts/roce-k8s with "},
		"another blob": {func(t *testing.T, to layout.Path) {
			d := only(t, to)
			must(t, os.WriteFile(filepath.Join(string(to), "blobs/sha256", d.Digest.Hex), []byte("{}"), 0o600))
		}, "has another digest"},
	} {
		t.Run(name, func(t *testing.T) {
			p, asked := small(t)
			change.make(t, layout.Path(filepath.Join(p.folder, layoutFolder)))
			err := p.run(t.Context(), io.Discard)
			if err == nil || !strings.Contains(err.Error(), change.want) {
				t.Errorf("%v", err)
			}
			if n := asked.Load(); n > 0 {
				t.Errorf("the registry was asked %d times", n)
			}
		})
	}
}

// only is the chart in the layout.
func only(t *testing.T, of layout.Path) v1.Descriptor {
	t.Helper()
	index, err := of.ImageIndex()
	must(t, err)
	manifest, err := index.IndexManifest()
	must(t, err)
	if len(manifest.Manifests) != 1 {
		t.Fatalf("%d artefacts", len(manifest.Manifests))
	}
	return manifest.Manifests[0]
}

func TestAProvenanceThatHasNoSumIsNone(t *testing.T) {
	p, _ := small(t)
	must(t, os.WriteFile(filepath.Join(p.folder, sumsFile), nil, 0o600))
	if err := p.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "SHA256SUMS has no "+provenanceFile(p.version)) {
		t.Errorf("%v", err)
	}
}

func TestAVersionIsPublishedOnce(t *testing.T) {
	p, _ := small(t)
	must(t, p.run(t.Context(), io.Discard))
	tag, err := name.NewTag(p.registry + "/charts/roce-k8s:" + p.version)
	must(t, err)
	before, err := remote.Head(tag)
	must(t, err)
	// What was interrupted is begun again.
	must(t, p.run(t.Context(), io.Discard))
	p.build(t, time.Unix(1_800_000_000, 0))
	if err := p.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "is published already, with "+before.Digest.String()) {
		t.Errorf("%v", err)
	}
	after, err := remote.Head(tag)
	must(t, err)
	if after.Digest != before.Digest {
		t.Errorf("it was moved from %s to %s", before.Digest, after.Digest)
	}
}
