package crash_test

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Before the node changes, the record says so, and is on disk: so a crash, of the
// plugin or of the node, leaves something to go by. And a NIC is never up in the
// pod without its sysctls.
func TestTheRecordIsAheadOfTheNode(t *testing.T) {
	if inLab() {
		t.Skip("runs on the machine itself")
	}
	s := newSweep(t, rich)
	asOnPCI(t, rails[0])
	ns, err := netns.GetFromPath(s.pod.netns)
	must(t, err)
	defer ns.Close()
	pod, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	must(t, err)
	defer pod.Close()

	path := filepath.Join(s.stateDir, "attachments", s.pod.id+"@net1.json")
	file := s.conf["runtimeConfig"].(map[string]any)["CNIDeviceInfoFile"].(string)
	looks := map[string]func() bool{
		"the NIC has left the host": func() bool { _, err := netlink.LinkByName(rails[0]); return err != nil },
		"the pod has a rule": func() bool {
			rules, err := pod.RuleList(unix.AF_INET)
			must(t, err)
			return slices.ContainsFunc(rules, func(r netlink.Rule) bool { return r.Src != nil })
		},
		"the file for Multus is there": func() bool { _, err := os.Stat(file); return err == nil },
		"the NIC is up in the pod": func() bool {
			link, err := pod.LinkByName("net1")
			return err == nil && link.Attrs().Flags&net.FlagUp != 0
		},
	}
	var synced []string
	record := func(key string) any {
		b, err := os.ReadFile(path)
		must(t, err)
		keys := map[string]any{}
		must(t, json.Unmarshal(b, &keys))
		return keys[key]
	}
	promises := map[string]func() bool{
		"the NIC has left the host":    func() bool { return slices.Equal(synced, []string{filepath.Base(path), "attachments"}) },
		"the pod has a rule":           func() bool { return record("rules") != nil },
		"the file for Multus is there": func() bool { return record("deviceInfoFile") == file },
		"the NIC is up in the pod":     func() bool { return s.sysctl("net/ipv4/conf/net1/arp_notify") == "1" },
	}
	s.seen = func(change string) {
		if path, ok := strings.CutPrefix(change, "fsync "); ok {
			synced = append(synced, filepath.Base(path))
		}
		for what, is := range looks {
			if !is() {
				continue
			}
			delete(looks, what) // the first time tells
			if !promises[what]() {
				t.Errorf("%s before it is known; on disk are %v; next is %s", what, synced, change)
			}
		}
	}
	s.killAt(0, false, "ADD", s.pod, s.conf).awaitOrphans()
	for what := range looks {
		t.Errorf("never seen: %s", what)
	}
	if problem := join(s.del(s.pod), s.remains()); problem != "" {
		t.Error(problem)
	}
}

// sysctl reads one of the pod's.
func (s *sweep) sysctl(path string) string {
	return strings.TrimSpace(output(s, "ip", "netns", "exec", filepath.Base(s.pod.netns), "cat", "/proc/sys/"+path))
}

// asOnPCI has sysfs say that a NIC is on a PCI function: only those have files for
// Multus.
func asOnPCI(t *testing.T, nic string) {
	t.Helper()
	const class = "/sys/class/net"
	must(t, unix.Mount("class", class, "tmpfs", 0, ""))
	t.Cleanup(func() { must(t, unix.Unmount(class, unix.MNT_DETACH)) })
	must(t, os.Symlink("../../devices/pci0000:00/0000:00:1f.7/net/"+nic, filepath.Join(class, nic)))
}
