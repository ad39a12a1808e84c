package cni_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// needs skips a test of something that the machine or its kernel lacks. With
// "kernel" in ROCE_TEST_REQUIRE the kernel must have it all.
func needs(t testing.TB, need string) {
	t.Helper()
	missing := ""
	switch need {
	case "hardware":
		if !inLab() {
			t.Skip("the lab's NICs can")
		}
	case "veth":
		if inLab() {
			t.Skip("the lab's NICs cannot")
		}
	case "ethtool":
		if _, err := exec.LookPath("ethtool"); err != nil {
			t.Skip("no ethtool")
		}
	case "channels":
		if exec.Command("bash", "-c", `ethtool -L "$1" rx 1 tx 1 && ethtool -L "$1" rx 2 tx 2`, "-", rails[0]).Run() != nil {
			missing = "veths have channels to set from Linux 5.15 on"
		}
	case "rings":
		set := `ethtool -G "$1" $(ethtool -g "$1" | gawk '/^RX:/ { rx = $2 } /^TX:/ { tx = $2 } END { print "rx", rx, "tx", tx }')`
		if exec.Command("bash", "-c", set, "-", rails[0]).Run() != nil {
			missing = "virtio NICs have rings to set from Linux 6.1 on"
		}
	case "tcx":
		if major, minor := release(t); major < 6 || major == 6 && minor < 6 {
			missing = "tcx came with Linux 6.6"
		}
	case "cookies":
		host, err := netdev.CurrentNamespace()
		must(t, err)
		defer host.Close()
		if host.Cookie == 0 {
			missing = "network namespaces have cookies from Linux 5.14 on"
		}
	case "names that move":
		if !altNamesMove(t) {
			missing = "alternative names move with their NIC from Linux 6.6 on"
		}
	}
	if missing != "" {
		skip(t, "kernel", missing)
	}
}

func release(t testing.TB) (major, minor int) {
	t.Helper()
	var system unix.Utsname
	must(t, unix.Uname(&system))
	_, err := fmt.Sscanf(unix.ByteSliceToString(system.Release[:]), "%d.%d", &major, &minor)
	must(t, err)
	return major, minor
}

// altNamesMove tells whether the kernel has "net: move altnames together with
// the netdevice": stable kernels before 6.6 may.
func altNamesMove(t testing.TB) bool {
	t.Helper()
	name := fmt.Sprintf("altnames-%d", os.Getpid())
	run(t, "ip", "netns", "add", name)
	defer run(t, "ip", "netns", "del", name)
	defer run(t, "ip", "link", "del", "probed1") // now, and not with the namespace
	run(t, "ip", "link", "add", "probed0", "type", "veth", "peer", "name", "probed1")
	run(t, "ip", "link", "property", "add", "dev", "probed0", "altname", "probed-by-this-name")
	run(t, "ip", "link", "set", "probed0", "netns", name)
	return exec.Command("ip", "link", "show", "probed-by-this-name").Run() != nil
}

// Where the kernel cannot be asked, an experiment tells.
func TestAKernelHasTheRestOfWhatItsVersionBrought(t *testing.T) {
	if os.Getuid() != 0 {
		skip(t, "netns", "network namespaces need root")
	}
	yes := map[bool]string{true: "yes", false: "no"}
	moves := altNamesMove(t)
	t.Logf("feature: alternative names that move with their NIC | 6.6 | %s", yes[moves])
	if major, minor := release(t); (major > 6 || major == 6 && minor >= 6) && !moves {
		t.Error("this kernel leaves alternative names behind")
	}
}

// Kernels before 6.6 let the host find the pod's NIC by the alternative names
// that it had there.
func TestANICInAPodIsNotOnTheHostByAnyOfItsNames(t *testing.T) {
	r := newRig(t, 2)
	if inLab() {
		run(t, "ip", "link", "property", "add", "dev", rails[0], "altname", "alt-"+rails[0])
		t.Cleanup(func() { run(t, "ip", "link", "property", "del", "dev", rails[0], "altname", "alt-"+rails[0]) })
	}
	before, p, other := hostState(t), r.pod(), r.pod()
	byAltName := r.config(rails[0], map[string]any{"device": "alt-" + rails[0], "rdma": "none"})
	p.add("net1", byAltName)
	if _, err := other.tryAdd("net1", byAltName); code(err) != 101 || !strings.Contains(err.Error(), "held by") {
		t.Errorf("code %d: %v, want 101", code(err), err)
	}
	// The pod may have the name, and so may another link of the host's.
	p.exec("bash", "-c", "ip link property add dev net1 altname alt-"+rails[0]+" || true")
	p.del("net1", byAltName)
	r.expectHost(before)
	r.expectClean()
}

// On these kernels a name that stayed behind belongs to no link, but is not
// free either.
func TestANICWhoseNameStayedBehindWithAnotherComesBackAllTheSame(t *testing.T) {
	r := newRig(t, 2)
	before, p, other := hostState(t), r.pod(), r.pod()
	nic, config := rails[0], r.config(rails[1])
	p.add("net1", config)
	run(t, "ip", "link", "property", "add", "dev", nic, "altname", rails[1]) // it is free for now
	other.add("net1", r.config(nic))
	p.del("net1", config)
	other.del("net1", r.config(nic))
	run(t, "bash", "-c", "ip link property del dev "+nic+" altname "+rails[1]+" || true")
	p.del("net1", config) // which settles names
	r.expectHost(before)
}
