package rdma

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// A distribution may add a feature to an old kernel; none takes one away.
func TestAKernelHasWhatItsVersionBrought(t *testing.T) {
	host, err := netdev.CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	features, err := Features(t.Context(), host)
	if err != nil || len(features) == 0 {
		t.Fatal(features, err)
	}
	var system unix.Utsname
	if err := unix.Uname(&system); err != nil {
		t.Fatal(err)
	}
	number := func(version string) (n int) {
		var major, minor int
		if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
			t.Fatalf("%s: %v", version, err)
		}
		return major<<16 + minor
	}
	running := number(unix.ByteSliceToString(system.Release[:]))
	for _, f := range features {
		t.Logf("feature: %s | %s | %s", f.Name, f.Since, f.Support)
		if running >= number(f.Since) && f.Support == netdev.Unsupported {
			t.Errorf("this kernel is said to have no %s, which came with %s", f.Name, f.Since)
		}
		if f.Cost == "" {
			t.Errorf("%s: what it costs to be without is not said", f.Name)
		}
	}
	names := []string{"fsopen(2)", "the exclusive RDMA mode"}
	ofNetdevs, err := host.Features(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range ofNetdevs {
		names = append(names, f.Name)
	}
	for _, name := range names {
		if !slices.ContainsFunc(features, func(f netdev.Feature) bool { return f.Name == name }) {
			t.Errorf("nobody asks for %s", name)
		}
	}
	missing, err := Missing(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range missing {
		if f.Support != netdev.Unsupported {
			t.Errorf("%s: %s, and missing", f.Name, f.Support)
		}
	}
}
