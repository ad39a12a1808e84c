package cosign

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/dsse"
	"github.com/sigstore/sigstore/pkg/signature/options"
	"github.com/sigstore/sigstore/pkg/signature/payload"
)

const (
	signatureAnnotation = "dev.cosignproject.cosign/signature"
	predicateAnnotation = "predicateType"
	payloadType         = "application/vnd.dev.cosign.simplesigning.v1+json"
	envelopeType        = "application/vnd.dsse.envelope.v1+json"
	statementType       = "application/vnd.in-toto+json"
)

// SignatureTag is where cosign looks for a signature, in the repository of what is
// signed.
func SignatureTag(signed name.Digest) name.Tag { return tag(signed, "sig") }

// AttestationTag is where it looks for attestations.
func AttestationTag(signed name.Digest) name.Tag { return tag(signed, "att") }

func tag(signed name.Digest, suffix string) name.Tag {
	h, err := v1.NewHash(signed.DigestStr())
	if err != nil {
		return name.Tag{} // name.Digest was checked when it was made
	}
	return signed.Context().Tag(fmt.Sprintf("%s-%s.%s", h.Algorithm, h.Hex, suffix))
}

// Sign makes the signature of what has a digest in a registry.
func Sign(ctx context.Context, signer signature.Signer, signed name.Digest) (v1.Image, error) {
	content, err := payload.Cosign{Image: signed}.MarshalJSON()
	if err != nil {
		return nil, err
	}
	s, err := Blob(ctx, signer, content)
	if err != nil {
		return nil, err
	}
	return bundle(mutate.Addendum{
		Layer: static.NewLayer(content, payloadType), MediaType: payloadType, Annotations: map[string]string{signatureAnnotation: s},
	})
}

// Blob is the signature of a file, as `cosign verify-blob` takes it.
func Blob(ctx context.Context, signer signature.Signer, content []byte) (string, error) {
	s, err := signer.SignMessage(bytes.NewReader(content), options.WithContext(ctx))
	return base64.StdEncoding.EncodeToString(s), err
}

// A Statement is one of in-toto's, with the type of its predicate.
type Statement struct {
	PredicateType string
	JSON          []byte
}

// Attest makes the attestations with some statements.
func Attest(ctx context.Context, signer signature.Signer, statements ...Statement) (v1.Image, error) {
	var layers []mutate.Addendum
	wrapped := dsse.WrapSigner(signer, statementType)
	for _, s := range statements {
		envelope, err := wrapped.SignMessage(bytes.NewReader(s.JSON), options.WithContext(ctx))
		if err != nil {
			return nil, err
		}
		layers = append(layers, mutate.Addendum{
			Layer: static.NewLayer(envelope, envelopeType), MediaType: envelopeType,
			Annotations: map[string]string{signatureAnnotation: "", predicateAnnotation: s.PredicateType},
		})
	}
	return bundle(layers...)
}

func bundle(layers ...mutate.Addendum) (v1.Image, error) {
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	return mutate.Append(base, layers...)
}
