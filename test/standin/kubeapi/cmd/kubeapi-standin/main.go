// Command kubeapi-standin runs the stand-in API server for Whereabouts, and writes Whereabouts' configuration.
//
//	kubeapi-standin &                       # then any ipam section of the operator's guide works as it is
//	kubeapi-standin -folder /tmp/w -v &     # files elsewhere; the ipam section needs a configuration_path
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/roce-k8s/roce-k8s/test/standin/kubeapi"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:0", "loopback `address` to serve on")
	verbose := flag.Bool("v", false, "log every request")
	var config kubeapi.WhereaboutsConfig
	flag.StringVar(&config.Root, "root", "", "`folder` that is the root of whoever runs Whereabouts")
	flag.StringVar(&config.Folder, "folder", kubeapi.WhereaboutsFolder, "`folder` for Whereabouts' configuration")
	flag.DurationVar(&config.Lease.Duration, "lease-duration", 0, "how long Whereabouts' leader lease holds (0: Whereabouts' own)")
	flag.DurationVar(&config.Lease.RenewDeadline, "renew-deadline", 0, "how long a leader tries to renew it")
	flag.DurationVar(&config.Lease.RetryPeriod, "retry-period", 0, "how long between tries")
	flag.Parse()

	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, config, log); err != nil {
		log.Error("kubeapi-standin", "error", err)
		os.Exit(1)
	}
}

// run serves until ctx ends. The server listens before the configuration that names it is written, so whoever
// waits for the flat file can call Whereabouts as soon as it is there.
func run(ctx context.Context, listen string, config kubeapi.WhereaboutsConfig, log *slog.Logger) error {
	server, err := kubeapi.Start(listen, log)
	if err != nil {
		return err
	}
	config.Server = server.URL()
	if err := config.Write(); err != nil {
		return errors.Join(err, server.Close())
	}
	log.Info("stand-in API server for Whereabouts", "url", server.URL(), "configuration", config.ConfigurationPath())
	<-ctx.Done()
	return server.Close()
}
