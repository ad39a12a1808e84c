package cni_test

import (
	"os/exec"
	"testing"
)

func TestATreeOfQueueingDisciplinesComesBack(t *testing.T) {
	r := newRig(t, 1)
	nic, config := rails[0], r.config(rails[0])
	for _, args := range [][]string{
		{"root", "handle", "20:", "tbf", "rate", "5gbit", "burst", "1mb", "latency", "40ms"},
		{"parent", "20:1", "handle", "10:", "tbf", "rate", "4gbit", "burst", "1mb", "latency", "40ms"},
		{"parent", "10:1", "handle", "30:", "pfifo", "limit", "77"},
	} {
		if out, err := exec.Command("tc", append([]string{"qdisc", "add", "dev", nic}, args...)...).CombinedOutput(); err != nil {
			t.Skipf("this kernel lacks %s: %s", args, out)
		}
	}
	t.Cleanup(func() {
		if inLab() {
			run(t, "tc", "qdisc", "del", "dev", nic, "root")
		}
	})
	disciplines := func() string { return run(t, "tc", "qdisc", "show", "dev", nic) }
	before := disciplines()
	p := r.pod()
	p.add("net1", config)
	p.exec("bash", "-c", "tc qdisc del dev net1 root; tc qdisc add dev net1 root handle 1: tbf rate 1mbit burst 32kbit latency 400ms")
	p.del("net1", config)
	if now := disciplines(); now != before {
		t.Errorf("%s\nwas\n%s", now, before)
	}
}
