package cluster

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
)

// Client is an HTTP client of the API server, as the cluster's administrator: for
// who wants to know when something happens, which takes kubectl some time to say.
func (c *ControlPlane) Client() (*http.Client, error) {
	pem, err := os.ReadFile(c.path("certificates/apiserver.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	return &http.Client{Transport: asAdmin{&http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, ForceAttemptHTTP2: true,
	}}}, nil
}

// asAdmin adds the administrator's token to each request.
type asAdmin struct{ to http.RoundTripper }

func (a asAdmin) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer token-of-"+users[0].file())
	return a.to.RoundTrip(r)
}
