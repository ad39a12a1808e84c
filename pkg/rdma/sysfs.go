package rdma

import (
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
)

func readString(dir, file string) (string, error) {
	return kernelfile.Read(filepath.Join(dir, file))
}

// readState reads "4: ACTIVE" as "ACTIVE".
func readState(path string) string {
	s, _ := kernelfile.Read(path)
	_, state, _ := strings.Cut(s, ": ")
	return state
}

func readHexID(dir, file string) string {
	s, _ := readString(dir, file)
	return strings.TrimPrefix(s, "0x")
}
