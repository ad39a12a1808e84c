package rdma_test

import (
	"os"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestTheHostsDeviceFolderIsFoundWhereItIsMounted(t *testing.T) {
	dir := t.TempDir()
	file := dir + "/file"
	must(t, os.WriteFile(file, nil, 0o600))
	for mounted, want := range map[string]string{dir: dir, dir + "/none": "/dev", file: "/dev"} {
		if got := rdma.DevRoot(mounted); got != want {
			t.Errorf("%s: %s, want %s", mounted, got, want)
		}
	}
}
