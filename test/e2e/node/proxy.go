package node

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
)

// proxyAddress is where an emulated node answers for the API server, without TLS.
const proxyAddress = "127.0.0.1:8001"

// cniKey is the kubeconfig of a CNI plugin. An emulated processor needs longer
// for one handshake than Multus waits for the whole of its first answer, which is
// 250 ms: there, plugins ask through a proxy such as `kubectl proxy`.
func (n *node) cniKey(name string) (content string, err error) {
	b, err := os.ReadFile(n.path(KeysFolder, name+".kubeconfig"))
	if err != nil {
		return "", err
	}
	if !n.Emulated {
		return string(b), nil
	}
	server, _, err := n.server()
	return strings.ReplaceAll(string(b), server, "http://"+proxyAddress), err
}

// server is the API server's URL, and the certificate that vouches for it.
func (n *node) server() (address string, certificate []byte, err error) {
	b, err := os.ReadFile(n.path(KeysFolder, "admin.kubeconfig"))
	if err != nil {
		return "", nil, err
	}
	var kubeconfig struct {
		Clusters []struct {
			Cluster struct {
				Server string `json:"server"`
				CA     []byte `json:"certificate-authority-data"`
			} `json:"cluster"`
		} `json:"clusters"`
	}
	if err := json.Unmarshal(b, &kubeconfig); err != nil {
		return "", nil, err
	}
	if len(kubeconfig.Clusters) != 1 {
		return "", nil, fmt.Errorf("admin.kubeconfig has %d clusters", len(kubeconfig.Clusters))
	}
	c := kubeconfig.Clusters[0].Cluster
	return c.Server, c.CA, nil
}

// startProxy serves what cniKey promises, until the context ends.
func (n *node) startProxy(ctx context.Context) error {
	if !n.Emulated {
		return nil
	}
	address, certificate, err := n.server()
	if err != nil {
		return err
	}
	target, err := url.Parse(address)
	if err != nil {
		return err
	}
	trusted := x509.NewCertPool()
	trusted.AppendCertsFromPEM(certificate)
	proxy := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusted}, ForceAttemptHTTP2: true},
		FlushInterval: -1, // watches
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", proxyAddress)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: proxy}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	go func() { _ = server.Serve(l) }()
	return nil
}
