package cni_test

import (
	"strings"
	"testing"
)

// Neighbours and routers tell such things again. What comes back from the journal
// stays, whether it is still true or not.
func TestWhatTheHostHasOnlyHeardDoesNotComeBackForEver(t *testing.T) {
	r := newRig(t, 1)
	nic, config := rails[0], r.config(rails[0])
	heard := []string{
		"ip neigh add 192.168.0.77 lladdr 02:00:00:00:00:77 dev NIC nud stale",
		"ip neigh add 192.168.0.78 lladdr 02:00:00:00:00:78 dev NIC nud reachable",
		"ip -6 route add 2001:db8:77::/64 dev NIC proto ra metric 1024",
		"ip addr add 192.168.77.1/24 dev NIC valid_lft 1000 preferred_lft 1000",
	}
	set := []string{
		"ip neigh add 192.168.0.79 lladdr 02:00:00:00:00:79 dev NIC nud permanent",
		"ip -6 route add 2001:db8:79::/64 dev NIC metric 1024",
		"ip addr add 192.168.79.1/24 dev NIC",
	}
	for _, command := range append(heard, set...) {
		run(t, strings.Fields(strings.ReplaceAll(command, "NIC", nic))...)
	}
	t.Cleanup(func() {
		if inLab() {
			run(t, "ip", "neigh", "del", "192.168.0.79", "dev", nic)
			run(t, "ip", "-6", "route", "del", "2001:db8:79::/64", "dev", nic)
			run(t, "ip", "addr", "del", "192.168.79.1/24", "dev", nic)
		}
	})
	p := r.pod()
	p.add("net1", config)
	p.del("net1", config)
	now := run(t, "ip", "neigh", "show", "dev", nic) + run(t, "ip", "-6", "route", "show", "dev", nic) + run(t, "ip", "addr", "show", "dev", nic)
	for _, gone := range []string{"192.168.0.77 ", "192.168.0.78 ", "2001:db8:77::/64", "192.168.77.1/24"} {
		if strings.Contains(now, gone) {
			t.Errorf("%s came back:\n%s", gone, now)
		}
	}
	for _, back := range []string{"192.168.0.79 ", "2001:db8:79::/64", "192.168.79.1/24"} {
		if !strings.Contains(now, back) {
			t.Errorf("%s did not come back:\n%s", back, now)
		}
	}
}
