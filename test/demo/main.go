// Command demo tells the story of the operator's guide in the lab's virtual
// machine, on RDMA devices, as it happens: the device plugin and the kubelet,
// two pods with eight rails each, traffic on every rail, and all NICs back.
// test/demo/run builds it, brings it there and starts it.
//
// Real are the two programs, Whereabouts, libcni, the kernel, its Soft-RoCE
// devices and perftest. The kubelet and the API server are the project's
// stand-ins; they speak the real protocols. A pod is a network namespace and,
// for its processes, a mount namespace whose /dev/infiniband holds what the
// device plugin allocated and nothing else.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	mode := flag.String("mode", "exclusive", "the RDMA namespace `mode` that the machine was booted in")
	programs := flag.String("programs", ".", "the `folder` of the programs to show")
	color := flag.Bool("color", false, "use colours")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	report := &report{out: os.Stdout, color: *color}
	err := tell(ctx, report, *mode, *programs)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stdout, "\ndemo:", err)
		os.Exit(1)
	}
}
