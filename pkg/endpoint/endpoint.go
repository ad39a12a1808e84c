// Package endpoint asks a program on this machine that speaks HTTP, at a unix
// socket or a port.
//
// It knows how to reach it and who did not answer. It must not know what is asked.
package endpoint

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
)

// An Endpoint is where a program serves, in the words of net.Dial.
type Endpoint struct{ Network, Address string }

// Unix is the endpoint at a unix socket.
func Unix(socket string) Endpoint { return Endpoint{"unix", socket} }

// TCP is the endpoint at a host and a port.
func TCP(address string) Endpoint { return Endpoint{"tcp", address} }

// Ask sends one request over a connection of its own; the caller closes the
// answer's body. An error names the endpoint, and not a URL that nobody wrote.
func (e Endpoint) Ask(ctx context.Context, method, path string, body io.Reader) (*http.Response, error) {
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, e.Network, e.Address)
		},
	}}
	// The host in the URL does not matter: the endpoint is the address.
	request, err := http.NewRequestWithContext(ctx, method, "http://instance/"+strings.TrimPrefix(path, "/"), body)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if invented := (*url.Error)(nil); errors.As(err, &invented) {
		err = invented.Err
	}
	return response, err
}
