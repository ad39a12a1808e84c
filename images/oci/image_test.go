package main

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
	"syscall"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// example is an image of stand-in programs, for speed.
func example(t *testing.T) options {
	t.Helper()
	o := options{t.TempDir(), "docker.io/library/roce-k8s:v1", "v1", "0123456789abcdef", time.Unix(1790000000, 0).UTC()}
	for _, architecture := range architectures {
		must(t, os.Mkdir(filepath.Join(o.programs, architecture), 0o755))
		for _, program := range programs {
			must(t, os.WriteFile(filepath.Join(o.programs, architecture, program), []byte(program+" for "+architecture), 0o600))
		}
	}
	return o
}

func writeExample(t *testing.T) []byte {
	t.Helper()
	o := example(t)
	index, err := o.index()
	must(t, err)
	out := filepath.Join(t.TempDir(), "image.tar")
	must(t, o.write(index, out))
	b, err := os.ReadFile(out)
	must(t, err)
	return b
}

func TestTheSameProgramsGiveTheSameBytesWhateverFolderAndUmask(t *testing.T) {
	first := writeExample(t)
	defer syscall.Umask(syscall.Umask(0o077))
	if second := writeExample(t); !slices.Equal(first, second) {
		t.Error("the second image differs")
	}
}

func TestTheFileIsAnImageLayoutForBothArchitectures(t *testing.T) {
	folder := t.TempDir()
	archive := tar.NewReader(strings.NewReader(string(writeExample(t))))
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		path := filepath.Join(folder, header.Name)
		must(t, os.MkdirAll(filepath.Dir(path), 0o755))
		b, err := io.ReadAll(archive)
		must(t, err)
		must(t, os.WriteFile(path, b, 0o600))
	}
	root, err := layout.ImageIndexFromPath(folder)
	must(t, err)
	must(t, validate.Index(root))
	manifest, err := root.IndexManifest()
	must(t, err)
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/roce-k8s:v1" {
		t.Fatalf("%+v", manifest.Manifests)
	}
	index, err := root.ImageIndex(manifest.Manifests[0].Digest)
	must(t, err)
	manifest, err = index.IndexManifest()
	must(t, err)
	var have []string
	for _, m := range manifest.Manifests {
		have = append(have, m.Platform.Architecture)
	}
	if !slices.Equal(have, architectures) {
		t.Errorf("architectures %v", have)
	}
}

func TestTheImageIsTheDockerfiles(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	must(t, err)
	_, final, ok := strings.Cut(string(b), "FROM scratch\n")
	if !ok {
		t.Fatal("the Dockerfile's last stage is not FROM scratch")
	}
	o := example(t)
	image, err := o.image("amd64")
	must(t, err)
	config, err := image.ConfigFile()
	must(t, err)
	labels := map[string]string{}
	for _, label := range regexp.MustCompile(`(org\.[a-z.]+)="([^"]*)"`).FindAllStringSubmatch(final, -1) {
		labels[label[1]] = label[2]
	}
	values := map[string]string{"$VERSION": o.version, "$REVISION": o.revision, "$CREATED": o.created.Format(time.RFC3339)}
	for name, value := range labels {
		if v, ok := values[value]; ok {
			labels[name] = v
		}
	}
	if !maps.Equal(labels, config.Config.Labels) {
		t.Errorf("labels\n%v\nDockerfile's\n%v", config.Config.Labels, labels)
	}
	copied := "COPY --from=build /out/" + strings.Join(programs, " /out/") + " /\n"
	entrypoint := `ENTRYPOINT ["` + strings.Join(config.Config.Entrypoint, `", "`) + `"]`
	if !strings.Contains(final, copied) || !strings.Contains(final, entrypoint) || config.Config.User != "" || strings.Contains(final, "\nUSER") {
		t.Errorf("want %q and %q in\n%s", copied, entrypoint, final)
	}
}
