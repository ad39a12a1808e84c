package rdma

import (
	"os"
	"path/filepath"
	"testing"
)

func TestVirtualFunctions(t *testing.T) {
	sys := t.TempDir()
	for name, content := range map[string]string{"pf": "2\n", "idle": "0\n", "odd": "many\n"} {
		dir := filepath.Join(sys, "class/net", name, "device")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "sriov_numvfs"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]int{"pf": 2, "idle": 0, "odd": 0, "virtual": 0} {
		if got := (Node{Sys: sys}).VirtualFunctions(name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
