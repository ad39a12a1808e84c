package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// The tests look at a release that release/build wrote, and what was built from
// another clone: `make test-release` makes both.

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// folder is a release's.
func folder(t *testing.T) string {
	t.Helper()
	dir := os.Getenv("ROCE_RELEASE")
	if dir == "" {
		t.Skip("needs a release: run it with `make test-release`")
	}
	return dir
}

func read(t *testing.T, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	must(t, err)
	return b
}

// version is what the chart says.
func version(t *testing.T) string {
	t.Helper()
	said, err := versions("..")
	must(t, err)
	return said[0].version
}

// head is the commit that is checked out.
func head(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("git", "rev-parse", "HEAD").Output()
	must(t, err)
	return strings.TrimSpace(string(out))
}

// unpacked is a tarball for this machine, in a folder.
func unpacked(t *testing.T) string {
	t.Helper()
	name := product + "-" + version(t) + "-linux-amd64"
	packed, err := gzip.NewReader(bytes.NewReader(read(t, folder(t), name+".tar.gz")))
	must(t, err)
	dir := t.TempDir()
	for r := tar.NewReader(packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return filepath.Join(dir, name)
		}
		must(t, err)
		to := filepath.Join(dir, h.Name)
		must(t, os.MkdirAll(filepath.Dir(to), 0o755))
		content, err := io.ReadAll(r)
		must(t, err)
		must(t, os.WriteFile(to, content, h.FileInfo().Mode()))
	}
}

func TestTwoClonesGiveTheSameRelease(t *testing.T) {
	one, other := folder(t), os.Getenv("ROCE_RELEASE_AGAIN")
	have := map[string]string{}
	for _, dir := range []string{one, other} {
		must(t, filepath.WalkDir(dir, func(path string, entry os.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			sum := digestOf(read(t, path))
			if dir == one {
				have[name] = sum
				return err
			}
			if have[name] != sum {
				t.Errorf("%s differs", name)
			}
			delete(have, name)
			return err
		}))
	}
	for name := range have {
		t.Errorf("the second lacks %s", name)
	}
}

func TestProgramsLabelsChartAndChangelogAreOfOneVersion(t *testing.T) {
	want := version(t)
	must(t, agree("..", want))
	programs := unpacked(t)
	for _, command := range [][]string{{"rdma-device-plugin", "--version"}, {"roce-host-device"}} {
		out, err := exec.Command(filepath.Join(programs, command[0]), command[1:]...).CombinedOutput()
		must(t, err)
		if first, _, _ := strings.Cut(string(out), "\n"); first != command[0]+" "+want {
			t.Errorf("%s says %q", command[0], first)
		}
	}
	root, err := layout.ImageIndexFromPath(filepath.Join(folder(t), layoutFolder))
	must(t, err)
	manifest, err := root.IndexManifest()
	must(t, err)
	for _, d := range manifest.Manifests {
		a, err := artefactOf(d)
		must(t, err)
		if a.tag != want {
			t.Errorf("the tag of %s is %s", a.repository, a.tag)
		}
		if a.repository == "charts/"+product {
			continue
		}
		index, err := root.ImageIndex(d.Digest)
		must(t, err)
		must(t, validate.Index(index, validate.Fast))
		images, err := index.IndexManifest()
		must(t, err)
		for _, m := range images.Manifests {
			image, err := index.Image(m.Digest)
			must(t, err)
			config, err := image.ConfigFile()
			must(t, err)
			if label := config.Config.Labels["org.opencontainers.image.version"]; label != want {
				t.Errorf("the label of %s for %s is %s", a.repository, m.Platform, label)
			}
		}
	}
}

func TestAVersionThatIsNotTheSourcesIsRefused(t *testing.T) {
	for version, want := range map[string]string{
		"v1.0.0":    "without a v",
		"1.0":       "use a semantic version",
		"1.0.0+abc": "use a semantic version",
		"97.0.0":    `the chart's version says`,
	} {
		if err := agree("..", version); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestTheChartHasNothingThatHelmIgnores(t *testing.T) {
	folder := filepath.Join("..", chartFolder)
	chart, err := chartFiles(folder)
	must(t, err)
	for _, name := range []string{"Chart.yaml", "values.yaml", "templates/daemonset.yaml", "monitoring/alerts.yaml"} {
		if !bytes.Equal(chart.files[name].content, read(t, folder, name)) {
			t.Errorf("%s is another in the chart", name)
		}
	}
	for line := range strings.Lines(string(read(t, folder, ".helmignore"))) {
		left, _ := filepath.Glob(filepath.Join(folder, strings.TrimSpace(line)))
		if len(left) == 0 {
			t.Errorf("there is no %s to ignore", line)
		}
		for name := range chart.files {
			if strings.HasPrefix(name, strings.TrimSpace(line)) {
				t.Errorf("the chart has %s", name)
			}
		}
	}
}

func TestAFolderWithoutAChartIsNotPacked(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, ".helmignore"), []byte("# all\n\n"), 0o600))
	if _, err := chartFiles(dir); err == nil || !strings.Contains(err.Error(), "Chart.yaml") {
		t.Errorf("%v", err)
	}
}

func TestAFolderWithAnythingElseIsNotReplaced(t *testing.T) {
	for name, want := range map[string]bool{
		"SHA256SUMS": true, "SHA256SUMS.sig": true, "cosign.pub": true, "roce-k8s-1.2.3.tgz": true, "oci/oci-layout": true,
		".profile": false, "roce-k8s-clone/go.mod": false, "SHA256SUMS.txt": false,
	} {
		dir := t.TempDir()
		file := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte("before"), 0o600))
		err := build{version: version(t), source: "..", out: dir}.run(io.Discard)
		if refused := err != nil && strings.Contains(err.Error(), dir+" has "); refused == want {
			t.Errorf("%s: %v", name, err)
		}
		if content, _ := os.ReadFile(file); (string(content) == "before") == want {
			t.Errorf("%s is %q afterwards", name, content)
		}
	}
}

// The Go command reads what is in a program in its own way.
func TestTheBillOfMaterialsHasEveryLinkedModuleAndNoOther(t *testing.T) {
	var document bom
	must(t, json.Unmarshal(read(t, folder(t), bomFile(version(t))), &document))
	have := map[string]bool{}
	for _, c := range document.Components {
		if c.Type == "library" {
			have[c.Name+" "+c.Version] = true
		}
		if len(c.Licenses) == 0 {
			t.Errorf("%s has no licence", c.Name)
		}
	}
	programs := unpacked(t)
	linked := map[string]bool{}
	for _, name := range []string{"rdma-device-plugin", "roce-host-device"} {
		out, err := exec.Command("go", "version", "-m", filepath.Join(programs, name)).Output()
		must(t, err)
		_, toolchain, _ := strings.Cut(strings.SplitN(string(out), "\n", 2)[0], ": go")
		linked["std "+toolchain] = true
		for _, dependency := range regexp.MustCompile(`(?m)^\tdep\t(\S+)\t(\S+)`).FindAllStringSubmatch(string(out), -1) {
			linked[dependency[1]+" "+dependency[2]] = true
		}
	}
	if len(linked) < 20 {
		t.Errorf("go version -m says %v", linked)
	}
	for m := range linked {
		if !have[m] {
			t.Errorf("%s is linked and not listed", m)
		}
		delete(have, m)
		if path, _, _ := strings.Cut(m, " "); len(texts(t, filepath.Join(programs, "licenses", path))) == 0 {
			t.Errorf("there is no licence text of %s", path)
		}
	}
	for m := range have {
		t.Errorf("%s is listed and not linked", m)
	}
}

func texts(t *testing.T, folder string) []string {
	t.Helper()
	entries, err := os.ReadDir(folder)
	must(t, err)
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names
}

func TestTheImagesLabelNamesTheLicencesOfTheBillOfMaterials(t *testing.T) {
	var document bom
	must(t, json.Unmarshal(read(t, folder(t), bomFile(version(t))), &document))
	var ids []string
	for _, c := range document.Components {
		for _, l := range c.Licenses {
			ids = append(ids, l.License.ID)
		}
	}
	slices.Sort(ids)
	expression := strings.Join(slices.Compact(ids), " AND ")
	if script := string(read(t, "../images/build")); !strings.Contains(script, `-licenses="`+expression+`"`) {
		t.Errorf("images/build has another expression than %q", expression)
	}
}

func TestTheProvenanceNamesCommitPinsAndEveryFile(t *testing.T) {
	dir := folder(t)
	var s struct {
		Subject   []subject
		Predicate provenance
	}
	must(t, json.Unmarshal(read(t, dir, provenanceFile(version(t))), &s))
	subjects := map[string]string{}
	for _, s := range s.Subject {
		subjects[s.Name] = s.Digest["sha256"]
	}
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		// Neither is there when the provenance is written, nor can be.
		if e.IsDir() || e.Name() == sumsFile || e.Name() == provenanceFile(version(t)) {
			continue
		}
		if subjects[e.Name()] != digestOf(read(t, dir, e.Name())) {
			t.Errorf("%s is %q in the provenance", e.Name(), subjects[e.Name()])
		}
	}
	for _, name := range []string{"ghcr.io/roce-k8s/roce-k8s", "ghcr.io/roce-k8s/roce-k8s-dra", "ghcr.io/roce-k8s/rdma-tools", "ghcr.io/roce-k8s/charts/roce-k8s"} {
		if subjects[name] == "" {
			t.Errorf("no %s in the provenance", name)
		}
	}
	materials := map[string]map[string]string{}
	for _, m := range s.Predicate.BuildDefinition.ResolvedDependencies {
		materials[m.Name] = m.Digest
	}
	if materials[""]["gitCommit"] != head(t) || materials["go.sum"]["sha256"] != digestOf(read(t, "../go.sum")) {
		t.Errorf("materials %v", materials)
	}
}
