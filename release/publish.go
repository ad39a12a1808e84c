package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/roce-k8s/roce-k8s/release/cosign"
)

// A publication takes a release's folder to a registry. Who may push there is what
// `docker login` left behind.
type publication struct {
	folder, registry string
	version, commit  string
	key, password    string
}

// run pushes image, chart and the examples' image, each with a signature and with
// the provenance as an attestation, and signs the sums of the files.
func (p publication) run(ctx context.Context, stdout io.Writer) error {
	if p.registry == "" || p.key == "" {
		return errors.New("usage: release publish -registry=REGISTRY -key=FILE")
	}
	signer, err := cosign.LoadKey(p.key, p.password)
	if err != nil {
		return err
	}
	path, err := layout.FromPath(filepath.Join(p.folder, layoutFolder))
	if err != nil {
		return err
	}
	index, err := path.ImageIndex()
	if err != nil {
		return err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return err
	}
	sums, err := p.check(manifest)
	if err != nil {
		return err
	}
	with := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	for _, d := range manifest.Manifests {
		_, tag, err := p.target(d)
		if err != nil {
			return err
		}
		if err := checkTag(tag, d.Digest, with...); err != nil {
			return err
		}
	}
	for _, d := range manifest.Manifests {
		if err := p.push(ctx, signer, index, d, stdout, with...); err != nil {
			return err
		}
	}
	s, err := cosign.Blob(ctx, signer, sums)
	if err != nil {
		return err
	}
	public, err := cosign.PublicKey(signer)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(p.folder, sumsSigned), []byte(s+"\n"), 0o644),
		os.WriteFile(filepath.Join(p.folder, publicKey), public, 0o644),
	)
}

// target is where an artefact of the layout goes.
func (p publication) target(d v1.Descriptor) (artefact, name.Tag, error) {
	a, err := artefactOf(d)
	if err != nil {
		return a, name.Tag{}, err
	}
	tag, err := name.NewTag(p.registry + "/" + a.reference())
	return a, tag, err
}

// push pushes one artefact of the layout, under its digest and its tag, and what is
// said about it. The tag comes last.
func (p publication) push(ctx context.Context, signer signature.Signer, index v1.ImageIndex, d v1.Descriptor, stdout io.Writer, with ...remote.Option) error {
	a, tag, err := p.target(d)
	if err != nil {
		return err
	}
	digest := tag.Digest(a.digest.String())
	var pushed remote.Taggable
	if d.MediaType == types.OCIImageIndex {
		image, err := index.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		err, pushed = remote.WriteIndex(digest, image, with...), image
		if err != nil {
			return err
		}
	} else {
		image, err := index.Image(d.Digest)
		if err != nil {
			return err
		}
		err, pushed = remote.Write(digest, image, with...), image
		if err != nil {
			return err
		}
	}
	signed, err := cosign.Sign(ctx, signer, digest)
	if err != nil {
		return err
	}
	if err := remote.Write(cosign.SignatureTag(digest), signed, with...); err != nil {
		return err
	}
	statements, err := p.statements(a)
	if err != nil {
		return err
	}
	attested, err := cosign.Attest(ctx, signer, statements...)
	if err != nil {
		return err
	}
	if err := remote.Write(cosign.AttestationTag(digest), attested, with...); err != nil {
		return err
	}
	if err := remote.Tag(tag, pushed, with...); err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s@%s\n", tag, a.digest)
	return err
}

// statements are what is attested of an artefact: the provenance, and of the image
// its bill of materials.
func (p publication) statements(a artefact) ([]cosign.Statement, error) {
	origin, err := os.ReadFile(filepath.Join(p.folder, provenanceFile(a.tag)))
	if err != nil {
		return nil, err
	}
	all := []cosign.Statement{{PredicateType: provenanceType, JSON: origin}}
	if a.repository != product {
		return all, nil
	}
	parts, err := os.ReadFile(filepath.Join(p.folder, bomFile(a.tag)))
	if err != nil {
		return nil, err
	}
	about, err := json.Marshal(statement{
		Type: statementType, PredicateType: bomType, Predicate: json.RawMessage(parts),
		Subject: []subject{{Name: home + "/" + a.repository, Digest: map[string]string{"sha256": a.digest.Hex}}},
	})
	return append(all, cosign.Statement{PredicateType: bomType, JSON: about}), err
}
