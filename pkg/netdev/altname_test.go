package netdev_test

import (
	"os/exec"
	"strings"
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

// Those of up to 15 characters could be names, the others cannot.
func TestALinkIsFoundByAnAlternativeNameOfAnyLength(t *testing.T) {
	host := node.NewHost(t)
	node.AddNIC(t, host, "ens12np0")
	for _, length := range []int{1, 14, 15, 16, 17, 127} {
		name := strings.Repeat("x", length)
		if out, err := exec.Command("ip", "link", "property", "add", "dev", "ens12np0", "altname", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if link, err := host.LinkNamed(name); err != nil || link == nil || link.Attrs().Name != "ens12np0" {
			t.Errorf("%d characters: %v, %v", length, link, err)
		}
	}
}
