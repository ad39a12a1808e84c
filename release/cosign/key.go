// Package cosign writes signatures and attestations as cosign does with a key of
// its own, so that `cosign verify --key` and `cosign verify-attestation --key`
// accept them: https://github.com/sigstore/cosign/blob/main/specs. It knows nothing
// of what is signed.
//
// cosign itself would do, but its module needs several hundred others.
package cosign

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
)

// LoadKey reads a private key: one that `cosign generate-key-pair` wrote, with its
// password, or one in PKCS #8 without.
func LoadKey(file, password string) (signature.SignerVerifier, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", file)
	}
	der := block.Bytes
	switch block.Type {
	case "PRIVATE KEY":
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		if der, err = encrypted.Decrypt(der, []byte(password)); err != nil {
			return nil, fmt.Errorf("decrypt %s: %w; is COSIGN_PASSWORD its password?", file, err)
		}
	default:
		return nil, fmt.Errorf("%s has a %q; use a key of `cosign generate-key-pair` or a PRIVATE KEY", file, block.Type)
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return signature.LoadSignerVerifier(key, crypto.SHA256)
}

// PublicKey is what the others verify with.
func PublicKey(signer signature.Signer) ([]byte, error) {
	key, err := signer.PublicKey()
	if err != nil {
		return nil, err
	}
	if key == nil {
		return nil, errors.New("the key has no public half")
	}
	return cryptoutils.MarshalPublicKeyToPEM(key)
}
