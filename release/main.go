// Command release makes a release of what images/build and images/rdma-tools/build
// have built, and publishes it:
//
//	release check VERSION       whether the source says of itself that it is this version
//	release build [flags]       write everything that a release has into a folder
//	release publish [flags]     push it to a registry, with signatures
//
// It is a module of its own: registries, signatures and Helm are no dependencies of the
// product.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: release check VERSION, release build [flags] or release publish [flags]")
	}
	flags := flag.NewFlagSet("release "+args[0], flag.ContinueOnError)
	switch args[0] {
	case "check":
		if len(args) != 2 {
			return errors.New("usage: release check VERSION")
		}
		return agree(".", args[1])
	case "build":
		var b build
		flags.StringVar(&b.version, "version", "", "the `version`, without a v")
		flags.StringVar(&b.commit, "commit", "", "the `commit` that all is built from")
		flags.StringVar(&b.source, "source", ".", "the `folder` of the source")
		flags.StringVar(&b.builder, "builder", "", "the `URI` of what builds, for the provenance")
		flags.StringVar(&b.out, "out", "", "the `folder` to write")
		date := flags.Int64("date", 0, "the commit's time in `seconds` since 1970")
		flags.Func("image", "the `folder` of an OCI layout with an image; may be repeated", func(folder string) error {
			b.images = append(b.images, folder)
			return nil
		})
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		b.date = time.Unix(*date, 0).UTC()
		return b.run(stdout)
	case "publish":
		var p publication
		flags.StringVar(&p.folder, "folder", "bin/release", "the `folder` of the release")
		flags.StringVar(&p.version, "version", "", "the `version`, without a v")
		flags.StringVar(&p.commit, "commit", "", "the `commit` that it must have been built from")
		flags.StringVar(&p.registry, "registry", "", "`registry` and prefix of the repositories: ghcr.io/roce-k8s")
		flags.StringVar(&p.key, "key", "", "the `file` of the private key, of cosign or PKCS #8; its password is COSIGN_PASSWORD")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		p.password = os.Getenv("COSIGN_PASSWORD")
		return p.run(ctx, stdout)
	}
	return fmt.Errorf("unknown command %q: use check, build or publish", args[0])
}
