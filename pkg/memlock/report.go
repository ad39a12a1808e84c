package memlock

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
)

// A Report is what a plugin says of itself.
type Report struct {
	// Connected: the runtime asks it. Otherwise Why says why not.
	Connected bool   `json:"connected"`
	Why       string `json:"why,omitempty"`
	// Raised are the containers, since it started, that got a limit; Kept those
	// whose spec had a lower one already.
	Raised int `json:"raised"`
	Kept   int `json:"kept"`
}

// ServeHTTP answers Ask.
func (p *Plugin) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	p.mu.Lock()
	r := p.report
	p.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(r)
}

// longestAnswer is much more than an answer takes.
const longestAnswer = time.Second

// Ask asks the plugin that serves at a unix socket for its report.
func Ask(ctx context.Context, socket string) (r Report, err error) {
	ctx, cancel := context.WithTimeout(ctx, longestAnswer)
	defer cancel()
	response, err := endpoint.Unix(socket).Ask(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return Report{}, err
	}
	defer func() { _ = response.Body.Close() }()
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		return Report{}, fmt.Errorf("what answers at %s is no memlock plugin: %w", socket, err)
	}
	return r, nil
}
