package exporter

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

// Access says how the metrics' address is protected: by nothing if it is empty.
// What the files have is read for each connection, so that renewed certificates
// and tokens are in force at once.
type Access struct {
	// TLSDir is a folder with tls.crt and tls.key, as a Secret of the type
	// kubernetes.io/tls has them.
	TLSDir string
	// ClientCA is a file with the certificates that a client's must be signed
	// by; "" asks for none.
	ClientCA string
	// TokenFile is a file with the bearer token that a client must send; "" asks
	// for none.
	TokenFile string
}

// Flags defines the flags that say so.
func (a *Access) Flags(flags *flag.FlagSet) {
	flags.StringVar(&a.TLSDir, "metrics-tls-dir", "", "a `folder` with tls.crt and tls.key; serves the metrics' address by HTTPS")
	flags.StringVar(&a.ClientCA, "metrics-client-ca", "", "a `file` with certificates; a client there needs one that they have signed")
	flags.StringVar(&a.TokenFile, "metrics-token-file", "", "a `file` with the bearer token that a client there must send")
}

// Check tells whether what is asked for makes sense.
func (a Access) Check() error {
	if a.TLSDir == "" && (a.ClientCA != "" || a.TokenFile != "") {
		return errors.New("--metrics-client-ca and --metrics-token-file need --metrics-tls-dir: without TLS there are no certificates, and a token is anybody's")
	}
	return nil
}

// config reads the certificates.
func (a Access) config() (*tls.Config, error) {
	own, err := tls.LoadX509KeyPair(filepath.Join(a.TLSDir, "tls.crt"), filepath.Join(a.TLSDir, "tls.key"))
	if err != nil {
		return nil, fmt.Errorf("read the metrics' certificate: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{own}}
	if a.ClientCA == "" {
		return c, nil
	}
	authorities, err := os.ReadFile(a.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("read the authorities of the metrics' clients: %w", err)
	}
	c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
	if !c.ClientCAs.AppendCertsFromPEM(authorities) {
		return nil, fmt.Errorf("%s has no certificate", a.ClientCA)
	}
	return c, nil
}

// token reads what a client must send.
func (a Access) token() ([]byte, error) {
	text, err := os.ReadFile(a.TokenFile)
	if err != nil {
		return nil, fmt.Errorf("read the metrics' token: %w", err)
	}
	if text = bytes.TrimSpace(text); len(text) == 0 {
		return nil, fmt.Errorf("%s has no token", a.TokenFile)
	}
	return text, nil
}

// ready is an error while no client could be served.
func (a Access) ready() error {
	if a.TLSDir != "" {
		if _, err := a.config(); err != nil {
			return err
		}
	}
	if a.TokenFile != "" {
		_, err := a.token()
		return err
	}
	return nil
}

// guard lets only those to h who send the token.
func (a Access) guard(h http.Handler) http.Handler {
	if a.TokenFile == "" {
		return h
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want, err := a.token()
		sent, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if err != nil || !ok || !equal([]byte(sent), want) {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a bearer token is needed, and this is not it", http.StatusUnauthorized)
			return
		}
		h.ServeHTTP(w, r)
	})
}

// equal takes the same time whatever the texts and their lengths are.
func equal(a, b []byte) bool {
	x, y := sha256.Sum256(a), sha256.Sum256(b)
	return subtle.ConstantTimeCompare(x[:], y[:]) == 1
}
