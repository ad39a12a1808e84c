package rdma_test

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestTheHostsDeviceFolderIsFoundWhereItIsMounted(t *testing.T) {
	dir := t.TempDir()
	for mounted, want := range map[string]string{dir: dir, dir + "/none": "/dev"} {
		if got := rdma.DevRoot(mounted); got != want {
			t.Errorf("%s: %s, want %s", mounted, got, want)
		}
	}
}
