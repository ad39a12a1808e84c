package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
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
	o := options{
		roots: t.TempDir(), architectures: allArchitectures, entrypoint: "/rdma-device-plugin", name: "ghcr.io/roce-k8s/roce-k8s:v1", title: "roce-k8s", description: "an example",
		version: "v1", revision: "0123456789abcdef", created: time.Unix(1790000000, 0).UTC(),
	}
	for _, architecture := range strings.Fields(allArchitectures) {
		root := filepath.Join(o.roots, architecture)
		must(t, os.MkdirAll(filepath.Join(root, "licenses"), 0o755))
		must(t, os.WriteFile(filepath.Join(root, "rdma-device-plugin"), []byte("for "+architecture), 0o700))
		must(t, os.WriteFile(filepath.Join(root, "licenses/LICENSE"), []byte("do as you like"), 0o600))
		must(t, os.Symlink("rdma-device-plugin", filepath.Join(root, "link")))
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
		if header.Typeflag == tar.TypeDir {
			continue
		}
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
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["io.containerd.image.name"] != "ghcr.io/roce-k8s/roce-k8s:v1" {
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
	if !slices.Equal(have, strings.Fields(allArchitectures)) {
		t.Errorf("architectures %v", have)
	}
}

func TestFilesBelongToRootAndKeepOfTheirModesWhetherTheyCanBeRun(t *testing.T) {
	o := example(t)
	b, err := o.layer(filepath.Join(o.roots, "arm64"))
	must(t, err)
	var have []string
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if h.Uid != 0 || h.Gid != 0 || h.Uname != "" || !h.ModTime.Equal(o.created) {
			t.Errorf("%+v", h)
		}
		have = append(have, fmt.Sprintf("%s %o %s", h.Name, h.Mode, h.Linkname))
	}
	want := []string{"licenses/ 755 ", "licenses/LICENSE 644 ", "link 777 rdma-device-plugin", "rdma-device-plugin 755 "}
	if !slices.Equal(have, want) {
		t.Errorf("%q\nwant %q", have, want)
	}
}

func TestWhatIsNoFileFolderOrLinkIsRefused(t *testing.T) {
	o := example(t)
	must(t, syscall.Mkfifo(filepath.Join(o.roots, "amd64/pipe"), 0o600))
	if _, err := o.index(); err == nil || !strings.Contains(err.Error(), "amd64/pipe") {
		t.Errorf("%v", err)
	}
}

// What images/build says on the command line of this program and of the Go
// command, the Dockerfile says in its own way.
func TestTheScriptBuildsTheDockerfilesImage(t *testing.T) {
	b, err := os.ReadFile("../Dockerfile")
	must(t, err)
	build, final, ok := strings.Cut(string(b), "FROM scratch\n")
	if !ok {
		t.Fatal("the Dockerfile's last stage is not FROM scratch")
	}
	b, err = os.ReadFile("../build")
	must(t, err)
	script := string(b)
	for _, label := range regexp.MustCompile(`org\.opencontainers\.image\.([a-z]+)="([^"$]*)"`).FindAllStringSubmatch(final, -1) {
		if source := label[1] == "source"; !source && !regexp.MustCompile(`-`+label[1]+`="?`+regexp.QuoteMeta(label[2])+`"?[ \n]`).MatchString(script) {
			t.Errorf("the Dockerfile's %s is %q, the script's is another", label[1], label[2])
		}
	}
	o := options{title: "t", description: "d", licenses: "l", version: "v", revision: "r", source: "s"}
	for label := range o.labels() {
		if !strings.Contains(final, label) {
			t.Errorf("the Dockerfile has no label %s", label)
		}
	}
	for _, flag := range regexp.MustCompile(`-trimpath -tags \S+`).FindAllString(build, -1) {
		if !strings.Contains(script, "flags=("+flag+")") {
			t.Errorf("the Dockerfile builds with %s, the script does not", flag)
		}
	}
	if !strings.Contains(script, "-entrypoint=/rdma-device-plugin ") || !strings.Contains(final, `ENTRYPOINT ["/rdma-device-plugin"]`) || strings.Contains(final, "\nUSER") {
		t.Errorf("another entry point, or a user:\n%s", final)
	}
}
