// Command guide replays the operator's guide, the same by the DRA driver, or an
// operator's day with the programs' own commands, command by command, on a real
// Kubernetes with two nodes, and writes down what the commands printed. Each node is a virtual machine of the
// lab with eight RoCE NICs, rail i of one wired to rail i of the other.
//
// It runs in private namespaces: see the script run beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.mode, "mode", "shared", "RDMA namespace mode, shared or exclusive")
	flag.StringVar(&o.story, "story", "guide", "what to replay: guide, dra for the same by the DRA driver, or day for the operator's day")
	flag.StringVar(&o.folder, "folder", "", "the `folder` for the cluster")
	flag.StringVar(&o.peers, "peers", "", "the `folder` of the third-party programs")
	flag.StringVar(&o.images, "images", "", "the `folder` of the container images")
	flag.StringVar(&o.node, "node", "", "the `program` that makes a machine a node")
	flag.StringVar(&o.multus, "multus", "", "the Multus that has patience with an emulated processor")
	flag.StringVar(&o.root, "root", "", "the project's `folder`")
	flag.StringVar(&o.logs, "logs", "", "the `folder` for logs after a failure")
	out := flag.String("out", "", "the `file` for the commands and what they printed")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	r := &record{begun: time.Now()}
	replay(ctx, r, o)
	if err := os.WriteFile(*out, []byte(r.text.String()), 0o644); err != nil {
		r.check("write the record", err)
	}
	fmt.Printf("%d passed, %d failed\n", r.passed, r.failed)
	if r.failed > 0 {
		os.Exit(1)
	}
}

type options struct{ story, mode, folder, peers, images, node, multus, root, logs string }

func (o options) file(path string) string { return filepath.Join(o.root, path) }
