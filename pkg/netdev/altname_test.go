package netdev_test

import (
	"os/exec"
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestANameIsLeftBehindOnlyByALinkThatLeft(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "ens12np0")
	if out, err := exec.Command("ip", "link", "property", "add", "dev", "ens12np0", "altname", "rail1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if left := host.LeftBehind([]string{"rail1", "rail2"}); len(left) != 0 {
		t.Errorf("%v", left)
	}
}
