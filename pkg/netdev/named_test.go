package netdev

import "testing"

func TestANameIsALinksAtTheMomentOrNot(t *testing.T) {
	n, err := CurrentNamespace()
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	fd, err := n.ioctlSocket()
	if err != nil {
		t.Fatal(err)
	}
	const lo = 1 // LOOPBACK_IFINDEX
	for _, tt := range []struct {
		index int
		name  string
		want  bool
	}{{lo, "lo", true}, {lo + 1, "lo", false}, {lo, "nobodys", false}, {0, "nobodys", false}, {lo, "a-name-that-is-too-long", false}} {
		if n.isNamed(fd, tt.index, tt.name) != tt.want {
			t.Errorf("link %d is called %s: %v", tt.index, tt.name, !tt.want)
		}
	}
}
