package main

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sockets"
)

func TestEachLineIsAnsweredWithALine(t *testing.T) {
	dir := sockets.Folder(t)
	in := strings.NewReader("status rdma/hca_gpu\nrestart\nwait rdma/hca_gpu 0 1\nallocate rdma/hca_gpu 1\nallocate rdma/hca_gpu x\nfree rdma/hca_gpu 0\nnonsense\n\n")
	var out strings.Builder
	if err := run(t.Context(), dir, in, &out, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	want := `{"allocatable":0,"capacity":0,"messages":0,"registrations":0}
{}
{"allocatable":0,"capacity":0,"messages":0,"registrations":0}
{"error":"allocating 1 of rdma/hca_gpu: cannot allocate unregistered device"}
{"error":"strconv.Atoi: parsing \"x\": invalid syntax"}
{}
{"error":"not understood: \"nonsense\""}
{"error":"not understood: \"\""}
`
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", &out, want)
	}
}
