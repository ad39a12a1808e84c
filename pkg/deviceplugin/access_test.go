package deviceplugin

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// An authority signs certificates.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	made int64
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	der, key := a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	a.cert, a.key = cert, key
	return a
}

// sign signs what is left open of a certificate, itself if there is no other yet.
func (a *authority) sign(c *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	a.made++
	c.SerialNumber, c.Subject = big.NewInt(a.made), pkix.Name{CommonName: "test"}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	return der, key
}

// issue writes a certificate for 127.0.0.1 as a Secret is mounted.
func (a *authority) issue(dir string) tls.Certificate {
	a.t.Helper()
	der, key := a.sign(&x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"tls.crt": {Type: "CERTIFICATE", Bytes: der},
		"tls.key": {Type: "PRIVATE KEY", Bytes: secret},
		"ca.crt":  {Type: "CERTIFICATE", Bytes: a.cert.Raw},
	} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A client is one of the metrics.
type client struct {
	trusts *authority
	has    []tls.Certificate
	token  string
}

// get returns the status, 0 for none, and the serial number of the server's
// certificate.
func (c client) get(t *testing.T, url string) (status int, serial int64) {
	t.Helper()
	config := &tls.Config{RootCAs: x509.NewCertPool(), Certificates: c.has}
	if c.trusts != nil {
		config.RootCAs.AddCert(c.trusts.cert)
	}
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if c.token != "" {
		request.Header.Set("Authorization", c.token)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, 0
	}
	response.Body.Close()
	if response.TLS != nil {
		serial = response.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	return response.StatusCode, serial
}

func TestMetricsAreForThoseWhoMayHaveThem(t *testing.T) {
	n := newTestNode(t, node.Eight()...)
	n.Write("config.json", guide(0))
	site, stranger := newAuthority(t), newAuthority(t)
	o := n.options()
	o.MetricsAddress, o.ProbeSocket = freeAddress(t), filepath.Join(n.Dir, "probe.sock")
	o.MetricsAccess = exporter.Access{TLSDir: n.Dir, ClientCA: filepath.Join(n.Dir, "ca.crt"), TokenFile: filepath.Join(n.Dir, "token")}
	ours := site.issue(n.Dir)
	n.Write("token", "sesame\n")
	n.kubelet()
	n.startWith(o)
	n.Until("it serves", func() bool { return Probe(n.Ctx, o.ProbeSocket, "/healthz") == nil })

	url := "https://" + o.MetricsAddress + "/metrics"
	prometheus := client{trusts: site, has: []tls.Certificate{ours}, token: "Bearer sesame"}
	n.Until("Prometheus has them", func() bool { status, _ := prometheus.get(t, url); return status == http.StatusOK })
	for name, test := range map[string]struct {
		client
		url    string
		status int
	}{
		"all is right":                      {prometheus, url, http.StatusOK},
		"no certificate":                    {client{trusts: site, token: prometheus.token}, url, 0},
		"another's certificate":             {client{trusts: site, has: []tls.Certificate{stranger.issue(t.TempDir())}, token: prometheus.token}, url, 0},
		"no token":                          {client{trusts: site, has: prometheus.has}, url, http.StatusUnauthorized},
		"another token":                     {client{trusts: site, has: prometheus.has, token: "Bearer sesam"}, url, http.StatusUnauthorized},
		"a token that is no bearer's":       {client{trusts: site, has: prometheus.has, token: "sesame"}, url, http.StatusUnauthorized},
		"no TLS":                            {client{token: prometheus.token}, "http://" + o.MetricsAddress + "/metrics", http.StatusBadRequest},
		"a probe is asked for in the clear": {client{}, "http://" + o.MetricsAddress + "/healthz", http.StatusBadRequest},
		"a client that does not trust us":   {client{trusts: stranger, has: prometheus.has, token: prometheus.token}, url, 0},
	} {
		if status, _ := test.get(t, test.url); status != test.status {
			t.Errorf("%s: status %d, want %d", name, status, test.status)
		}
	}

	_, before := prometheus.get(t, url)
	prometheus.has = []tls.Certificate{site.issue(n.Dir)}
	n.Write("token", "open")
	if status, _ := prometheus.get(t, url); status != http.StatusUnauthorized {
		t.Errorf("the old token: %d", status)
	}
	prometheus.token = "Bearer open"
	if status, serial := prometheus.get(t, url); status != http.StatusOK || serial == before {
		t.Errorf("renewed: status %d, certificate %d as before", status, serial)
	}

	n.Write("token", "\n")
	if status, _ := (client{trusts: site, has: prometheus.has, token: "Bearer "}).get(t, url); status != http.StatusUnauthorized {
		t.Errorf("an empty token opens an empty file: %d", status)
	}
	n.Write("tls.key", "")
	for range 3 {
		if status, _ := prometheus.get(t, url); status != 0 {
			t.Errorf("without a key: status %d", status)
		}
	}
	if said := strings.Count(n.Logs.String(), "clients of the metrics are turned away"); said != 1 {
		t.Errorf("said %d times:\n%s", said, n.Logs)
	}
}

func TestMetricsWaitForTheirFiles(t *testing.T) {
	for name, missing := range map[string]string{"ca.crt": "", "token": " \n", "tls.crt": "no certificate"} {
		t.Run(name, func(t *testing.T) {
			n := newTestNode(t, node.Eight()...)
			n.Write("config.json", guide(0))
			newAuthority(t).issue(n.Dir)
			n.Write("token", "sesame")
			n.Write(name, missing)
			o := n.options()
			o.MetricsAddress = freeAddress(t)
			o.MetricsAccess = exporter.Access{TLSDir: n.Dir, ClientCA: filepath.Join(n.Dir, "ca.crt"), TokenFile: filepath.Join(n.Dir, "token")}
			n.kubelet()
			n.startWith(o)
			n.Until("it says so", func() bool { return strings.Contains(n.Logs.String(), "cannot serve metrics and probes yet") })
			if c, err := net.Dial("tcp", o.MetricsAddress); err == nil {
				c.Close()
				t.Error("it listens")
			}
		})
	}
}
