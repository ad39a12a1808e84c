package deviceplugin

import (
	"context"
	"sync"

	"github.com/roce-k8s/roce-k8s/pkg/endpoint"
	"github.com/roce-k8s/roce-k8s/pkg/exporter"
	"github.com/roce-k8s/roce-k8s/pkg/memlock"
)

// Memlock raises the memlock limit of containers with RDMA devices until ctx ends,
// and serves at o.MemlockSocket, if there is one, how that goes.
func Memlock(ctx context.Context, o Options, how memlock.Options) {
	p := memlock.New(how)
	var running sync.WaitGroup
	if o.MemlockSocket != "" {
		running.Go(func() { exporter.Serve(ctx, endpoint.Unix(o.MemlockSocket), exporter.Access{}, p, o.Log) })
	}
	p.Run(ctx)
	running.Wait()
}
