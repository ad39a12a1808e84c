// Package exporter serves what Prometheus, a probe or another container of the
// pod asks a program for: over HTTP, at a port of the node or a unix socket.
//
// It knows who may ask, and how much of the program that may take. It must not
// know what is answered.
package exporter

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/net/netutil"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/logging"
)

// listenAgain is the pause after an address was not available: another instance
// on the node may be about to end.
const listenAgain = 5 * time.Second

const (
	// MostConnections bounds what anybody on the node can make this program
	// hold. A scrape takes one, and whoever waits for one waits in the kernel.
	MostConnections = 32
	// longestRequest and longestAnswer are more than any should take; a slower
	// client makes room for others.
	longestRequest = 5 * time.Second
	longestAnswer  = 30 * time.Second
	longestIdle    = 2 * time.Second
	longestHeader  = 8 << 10 // bytes
)

// Serve serves h until ctx ends.
func Serve(ctx context.Context, at endpoint.Endpoint, access Access, h http.Handler, log *slog.Logger) {
	server := newServer(access.guard(h), log)
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	said := logging.Once{}
	for ctx.Err() == nil {
		if at == endpoint.Unix(at.Address) {
			_ = os.Remove(at.Address) // of an instance before this one, which was killed
		}
		l, err := listen(ctx, at, access, log)
		if err == nil {
			log.Info("metrics and probes", "address", l.Addr().String())
			if err = server.Serve(l); errors.Is(err, http.ErrServerClosed) {
				return
			}
		}
		if said.News(at.Address, err.Error()) {
			log.Warn("cannot serve metrics and probes yet", "address", at.Address, "again", listenAgain.String(), "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(listenAgain):
		}
	}
}

// newServer makes one that no client keeps for long.
func newServer(h http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler: h, ReadTimeout: longestRequest, WriteTimeout: longestAnswer, IdleTimeout: longestIdle, MaxHeaderBytes: longestHeader,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug), // what clients do wrong
	}
}

// listen takes so many connections and no more, with TLS if access says so.
func listen(ctx context.Context, at endpoint.Endpoint, access Access, log *slog.Logger) (net.Listener, error) {
	if err := access.ready(); err != nil {
		return nil, err
	}
	l, err := (&net.ListenConfig{}).Listen(ctx, at.Network, at.Address)
	if err != nil {
		return nil, err
	}
	l = netutil.LimitListener(l, MostConnections)
	if access.TLSDir == "" {
		return l, nil
	}
	var mu sync.Mutex // guards said: each client has a goroutine
	said := logging.Once{}
	return tls.NewListener(l, &tls.Config{MinVersion: tls.VersionTLS13, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c, err := access.config()
		failure := ""
		if err != nil {
			failure = err.Error()
		}
		mu.Lock()
		defer mu.Unlock()
		if said.News("files", failure) && err != nil {
			log.Warn("clients of the metrics are turned away", "err", err)
		}
		return c, err
	}}), nil
}
