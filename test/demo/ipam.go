package main

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/standin/kubeapi"
)

// An ipam is where Whereabouts keeps its pools.
type ipam struct{ server *kubeapi.Server }

// startIPAM starts the API server and installs Whereabouts' flat file, from
// which the short ipam sections of the guide's networks are completed.
func startIPAM() (*ipam, error) {
	server, err := kubeapi.Start("127.0.0.1:0", slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, err
	}
	// The lease is long for a slow machine, and is not renewed within the time
	// that one call takes: a release that meets a renewal fails, and the next
	// call then waits for the lease's end.
	lease := kubeapi.Lease{Duration: 10 * time.Second, RenewDeadline: 8 * time.Second, RetryPeriod: 4 * time.Second}
	if err := (kubeapi.WhereaboutsConfig{Server: server.URL(), Lease: lease}).Write(); err != nil {
		server.Close()
		return nil, err
	}
	return &ipam{server}, nil
}

func (i *ipam) stop() { _ = i.server.Close() }

// pools lists Whereabouts' pools, and counts the addresses that are taken.
func (i *ipam) pools() (text string, taken int, err error) {
	var lines []string
	for _, raw := range i.server.List("ippools") {
		var pool struct {
			Metadata struct{ Name string }
			Spec     struct {
				Allocations map[string]struct{ PodRef string }
			}
		}
		if err := json.Unmarshal(raw, &pool); err != nil {
			return "", 0, fmt.Errorf("read a pool: %w", err)
		}
		var by []string
		for offset, allocation := range pool.Spec.Allocations {
			by = append(by, offset+"="+allocation.PodRef)
		}
		slices.Sort(by)
		if len(by) == 0 {
			by = []string{"free"}
		}
		taken += len(pool.Spec.Allocations)
		lines = append(lines, pool.Metadata.Name+"  "+strings.Join(by, "  "))
	}
	return strings.Join(lines, "\n"), taken, nil
}

// reservations counts the addresses that Whereabouts keeps from all ranges.
func (i *ipam) reservations() int { return len(i.server.List("overlappingrangeipreservations")) }
