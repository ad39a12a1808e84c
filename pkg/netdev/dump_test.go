package netdev_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// The kernel fits its messages into the room that there was before, and has none for
// a route with hundreds of next hops.
func TestARouteThatIsLongerThanTheRoomIsListed(t *testing.T) {
	const hops = 300
	host := node.NewHost(t)
	node.AddNIC(t, host, "nic0")
	var batch strings.Builder
	for i := range hops { // iproute2 has no room for all at once
		fmt.Fprintf(&batch, "route append fd01::/64 via fd00::%x dev nic0\n", i+2)
	}
	cmd := exec.Command("bash", "-ec", "ip link set nic0 up; ip link set nic0w up; ip addr add fd00::1/64 dev nic0 nodad; ip -6 -batch -")
	cmd.Stdin = strings.NewReader(batch.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	routes, err := host.AllRoutes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range routes {
		if r.Dst.String() == "fd01::/64" && len(r.Links) == hops {
			return
		}
	}
	t.Errorf("it is not among %d routes", len(routes))
}
