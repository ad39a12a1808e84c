package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	helm "helm.sh/helm/v3/pkg/registry"

	"github.com/roce-k8s/roce-k8s/release/cosign"
)

const password = "a throw-away key's"

// A site is a registry to which a copy of a release was published.
type site struct {
	*testing.T
	publication
	verifier signature.Verifier
}

// newKey writes a key as `cosign generate-key-pair` does.
func newKey(t *testing.T) (file string, verifier signature.Verifier) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	sealed, err := encrypted.Encrypt(der, []byte(password))
	must(t, err)
	file = filepath.Join(t.TempDir(), "cosign.key")
	must(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed}), 0o600))
	verifier, err = signature.LoadVerifier(key.Public(), crypto.SHA256)
	must(t, err)
	return file, verifier
}

func publish(t *testing.T) *site {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	copied := t.TempDir()
	must(t, os.CopyFS(copied, os.DirFS(folder(t))))
	s := &site{T: t}
	s.publication = publication{folder: copied, registry: strings.TrimPrefix(server.URL, "http://") + "/roce-k8s", password: password}
	s.version, s.commit = version(t), head(t)
	s.key, s.verifier = newKey(t)
	var pushed bytes.Buffer
	must(t, s.run(t.Context(), &pushed))
	if n := strings.Count(pushed.String(), "@sha256:"); n != 4 {
		t.Fatalf("pushed\n%s", &pushed)
	}
	return s
}

// get is what a registry has under a tag, and its digest.
func (s *site) get(repository string) (name.Digest, *remote.Descriptor) {
	s.Helper()
	tag, err := name.NewTag(s.registry + "/" + repository + ":" + version(s.T))
	must(s.T, err)
	d, err := remote.Get(tag)
	must(s.T, err)
	return tag.Digest(d.Digest.String()), d
}

// accepts says whether a signature is one by the key for what has the digest.
func (s *site) accepts(signed name.Digest) bool {
	s.Helper()
	image, err := remote.Image(cosign.SignatureTag(signed))
	if err != nil {
		return false
	}
	for _, l := range s.layers(image) {
		signature, err := base64.StdEncoding.DecodeString(l.annotations["dev.cosignproject.cosign/signature"])
		must(s.T, err)
		var of payload.Cosign
		must(s.T, json.Unmarshal(l.content, &of))
		if s.verifier.VerifySignature(bytes.NewReader(signature), bytes.NewReader(l.content)) == nil && of.Image.DigestStr() == signed.DigestStr() {
			return true
		}
	}
	return false
}

type layer struct {
	annotations map[string]string
	content     []byte
}

func (s *site) layers(image v1.Image) (all []layer) {
	s.Helper()
	manifest, err := image.Manifest()
	must(s.T, err)
	layers, err := image.Layers()
	must(s.T, err)
	for i, l := range layers {
		stream, err := l.Compressed()
		must(s.T, err)
		content, err := io.ReadAll(stream)
		must(s.T, err)
		all = append(all, layer{manifest.Layers[i].Annotations, content})
	}
	return all
}

func TestWhatIsPublishedIsWhatWasBuiltAndIsSigned(t *testing.T) {
	s := publish(t)
	for _, repository := range []string{"roce-k8s", "roce-k8s-dra", "rdma-tools", "charts/roce-k8s"} {
		digest, _ := s.get(repository)
		if !strings.Contains(string(read(t, s.folder, provenanceFile(version(t)))), digest.Identifier()[len("sha256:"):]) {
			t.Errorf("%s is %s, which the provenance does not know", repository, digest)
		}
		if !s.accepts(digest) {
			t.Errorf("no signature of %s", repository)
		}
	}
	s.cosign("verify", "roce-k8s", true)
	s.cosign("verify", "charts/roce-k8s", true)
	sums, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(read(t, s.folder, "SHA256SUMS.sig"))))
	must(t, err)
	must(t, s.verifier.VerifySignature(bytes.NewReader(sums), bytes.NewReader(read(t, s.folder, sumsFile))))
}

func TestAnImageThatWasTamperedWithHasNoSignature(t *testing.T) {
	s := publish(t)
	digest, d := s.get("roce-k8s")
	index, err := d.ImageIndex()
	must(t, err)
	other := mutate.Annotations(index, map[string]string{"tampered": "yes"}).(v1.ImageIndex)
	tag, err := name.NewTag(s.registry + "/roce-k8s:" + version(t))
	must(t, err)
	must(t, remote.WriteIndex(tag, other))
	tampered, _ := s.get("roce-k8s")
	if tampered == digest || s.accepts(tampered) {
		t.Error("the tampered image is accepted")
	}
	s.cosign("verify", "roce-k8s", false)
	// Nor does the right one's signature do for it.
	signature, err := remote.Image(cosign.SignatureTag(digest))
	must(t, err)
	must(t, remote.Write(cosign.SignatureTag(tampered), signature))
	if s.accepts(tampered) {
		t.Error("the tampered image is accepted with the signature of the other")
	}
	s.cosign("verify", "roce-k8s", false)
}

func TestASignatureOfAnotherKeyIsNone(t *testing.T) {
	s := publish(t)
	digest, _ := s.get("roce-k8s")
	_, s.verifier = newKey(t)
	if s.accepts(digest) {
		t.Error("it is accepted")
	}
}

func TestAReleaseThatWasChangedOrIsOfAnotherCommitIsNotPublished(t *testing.T) {
	copied := t.TempDir()
	must(t, os.CopyFS(copied, os.DirFS(folder(t))))
	file := bomFile(version(t))
	must(t, os.WriteFile(filepath.Join(copied, file), []byte("{}"), 0o600))
	key, _ := newKey(t)
	p := publication{folder: copied, registry: "127.0.0.1:1/none", key: key, password: password}
	if err := p.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("%v", err)
	}
	must(t, os.WriteFile(filepath.Join(copied, file), read(t, folder(t), file), 0o600))
	p.version, p.commit = version(t), "0123456789abcdef"
	if err := p.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "built from commit "+head(t)) {
		t.Errorf("%v", err)
	}
	p.password = "another"
	if err := p.run(t.Context(), io.Discard); err == nil || !strings.Contains(err.Error(), "COSIGN_PASSWORD") {
		t.Errorf("%v", err)
	}
}

// script is release/publish in a repository that has what it looks at before it
// publishes, and that a Go command says back.
func script(t *testing.T, unreleased string) (program string) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", os.DevNull) // where a tag may have to be signed
	root := t.TempDir()
	for file, content := range map[string]string{
		"release/publish":           string(read(t, "publish")),
		chartFolder + "/Chart.yaml": "version: 1.2.3\n",
		changelog:                   "## Unreleased\n\n" + unreleased + "\n## 1.2.3\n",
		"path/go":                   "#!/bin/sh\necho \"$@\"\n",
	} {
		file = filepath.Join(root, file)
		must(t, os.MkdirAll(filepath.Dir(file), 0o755))
		must(t, os.WriteFile(file, []byte(content), 0o755))
	}
	for _, args := range [][]string{
		{"init", "-q"}, {"add", "."}, {"-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "1.2.3"}, {"tag", "v1.2.3"},
	} {
		out, err := exec.Command("git", append([]string{"-C", root}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %v: %v\n%s", args, err, out)
		}
	}
	t.Setenv("PATH", filepath.Join(root, "path")+":"+os.Getenv("PATH"))
	return filepath.Join(root, "release/publish")
}

// Of more than a pipe takes.
func TestACommitWithLinesBelowUnreleasedIsNotPublished(t *testing.T) {
	out, err := exec.Command(script(t, strings.Repeat(" - A line.\n", 10_000)), "127.0.0.1:1/none", "key").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "CHANGELOG.md has lines below Unreleased") {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestFolderAndKeyAreThoseOfWhoCalls(t *testing.T) {
	publish := exec.Command(script(t, ""), "127.0.0.1:1/none", "keys/cosign.key")
	publish.Dir = t.TempDir()
	publish.Env = append(os.Environ(), "OUT=here")
	out, err := publish.CombinedOutput()
	must(t, err)
	for _, want := range []string{" -folder=" + publish.Dir + "/here ", " -key=" + publish.Dir + "/keys/cosign.key\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in %s", want, out)
		}
	}
}

func TestProvenanceAndBillOfMaterialsAreAttestedOfTheImage(t *testing.T) {
	s := publish(t)
	digest, _ := s.get("roce-k8s")
	image, err := remote.Image(cosign.AttestationTag(digest))
	must(t, err)
	found := map[string]bool{}
	for _, l := range s.layers(image) {
		var content []byte
		must(t, dsse.WrapVerifier(s.verifier, dsse.WithDecodedPayload(&content)).VerifySignature(bytes.NewReader(l.content), nil))
		var about statement
		must(t, json.Unmarshal(content, &about))
		for _, subject := range about.Subject {
			if "sha256:"+subject.Digest["sha256"] == digest.DigestStr() {
				found[about.PredicateType] = true
			}
		}
	}
	if !found[provenanceType] || !found[bomType] {
		t.Errorf("attested: %v", found)
	}
	s.cosign("verify-attestation", "roce-k8s", true, "--type", "slsaprovenance1")
	s.cosign("verify-attestation", "roce-k8s", true, "--type", "cyclonedx")
}

// Helm takes the chart out of the registry and renders it.
func TestHelmInstallsTheChartFromTheRegistry(t *testing.T) {
	s := publish(t)
	client, err := helm.NewClient(helm.ClientOptPlainHTTP(), helm.ClientOptWriter(io.Discard), helm.ClientOptCredentialsFile(filepath.Join(t.TempDir(), "config.json")))
	must(t, err)
	pulled, err := client.Pull(s.registry + "/charts/roce-k8s:" + version(t))
	must(t, err)
	if !bytes.Equal(pulled.Chart.Data, read(t, s.folder, product+"-"+version(t)+".tgz")) {
		t.Error("the registry's chart is not the release's file")
	}
	chart, err := loader.LoadArchive(bytes.NewReader(pulled.Chart.Data))
	must(t, err)
	if chart.Metadata.Version != version(t) || chart.Metadata.AppVersion != version(t) || pulled.Chart.Meta.Version != version(t) {
		t.Errorf("%+v", chart.Metadata)
	}
	values, err := chartutil.ToRenderValues(chart, nil, chartutil.ReleaseOptions{Name: "roce-k8s", Namespace: "kube-system", IsInstall: true}, nil)
	must(t, err)
	files, err := engine.Render(chart, values)
	must(t, err)
	var manifests strings.Builder
	for _, text := range files {
		manifests.WriteString(text)
	}
	if want := "image: ghcr.io/roce-k8s/roce-k8s:" + version(t); !strings.Contains(manifests.String(), want+"\n") {
		t.Errorf("no %q in\n%s", want, &manifests)
	}
}

// cosign has cosign itself judge, if ROCE_COSIGN names it: it takes eight minutes
// to build.
func (s *site) cosign(command, repository string, want bool, args ...string) {
	s.Helper()
	program := os.Getenv("ROCE_COSIGN")
	if program == "" {
		return
	}
	args = append([]string{
		command, "--key", filepath.Join(s.folder, "cosign.pub"), "--insecure-ignore-tlog", "--allow-http-registry", s.registry + "/" + repository + ":" + version(s.T),
	}, args...)
	out, err := exec.Command(program, args...).CombinedOutput()
	if (err == nil) != want {
		s.Errorf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
