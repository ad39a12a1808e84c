package crash_test

import (
	"fmt"
	"io/fs"
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

// state describes what a namespace has: every netdev as it was configured, and
// the RDMA devices. Two equal states are one line for line.
func state(t testing.TB, ns netns.NsHandle) []string {
	t.Helper()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	must(t, err)
	defer h.Close()
	var lines []string
	links, err := h.LinkList()
	must(t, err)
	for _, link := range links {
		a := link.Attrs()
		if a.Name == "lo" || strings.HasPrefix(a.Name, "sw-") {
			continue
		}
		slices.Sort(a.AltNames)
		lines = append(lines, fmt.Sprintf("%s mtu %d mac %s up %v promisc %d alias %q altnames %v", a.Name, a.MTU, a.HardwareAddr,
			a.Flags&net.FlagUp != 0, a.Promisc, a.Alias, a.AltNames))
		for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
			addrs, err := h.AddrList(link, family)
			must(t, err)
			for _, addr := range addrs {
				if !addr.IP.IsLinkLocalUnicast() { // comes by itself, some time after the link is up
					lines = append(lines, fmt.Sprintf("%s address %s scope %d", a.Name, addr.IPNet, addr.Scope))
				}
			}
			routes, err := h.RouteList(link, family)
			must(t, err)
			for _, r := range routes {
				if r.Dst == nil || !r.Dst.IP.IsLinkLocalUnicast() {
					lines = append(lines, fmt.Sprintf("%s route %s via %s metric %d proto %s", a.Name, r.Dst, r.Gw, r.Priority, r.Protocol))
				}
			}
		}
	}
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		rules, err := h.RuleList(family)
		must(t, err)
		for _, r := range rules {
			lines = append(lines, fmt.Sprintf("rule from %s to table %d priority %d", r.Src, r.Table, r.Priority))
		}
	}
	lines = append(lines, rdmaDevices(t, ns)...)
	slices.Sort(lines)
	return lines
}

// rdmaDevices are those of a namespace, none on a machine without RDMA.
func rdmaDevices(t testing.TB, ns netns.NsHandle) []string {
	t.Helper()
	if !inLab() {
		return nil
	}
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_RDMA)
	must(t, err)
	defer h.Close()
	links, err := h.RdmaLinkList()
	must(t, err)
	var lines []string
	for _, l := range links {
		lines = append(lines, fmt.Sprintf("rdma %s guid %s", l.Attrs.Name, l.Attrs.NodeGuid))
	}
	return lines
}

// hostState is the state of the host, with the numbers of the RDMA character
// devices: a container's device cgroup was written with them.
func (n *node) hostState() []string {
	n.Helper()
	lines := state(n, n.host)
	files, err := filepath.Glob("/sys/class/infiniband_verbs/uverbs*/ibdev")
	must(n, err)
	for _, file := range files {
		device, err := os.ReadFile(file)
		must(n, err)
		lines = append(lines, filepath.Base(filepath.Dir(file))+" is "+strings.TrimSpace(string(device)))
	}
	return lines
}

// difference prints what one state has and the other lacks, "" if nothing.
func difference(want, have []string) string {
	var lines []string
	for _, line := range want {
		if !slices.Contains(have, line) {
			lines = append(lines, "  gone: "+line)
		}
	}
	for _, line := range have {
		if !slices.Contains(want, line) {
			lines = append(lines, "  new:  "+line)
		}
	}
	return strings.Join(lines, "\n")
}

// leftovers are the files of the state folder that a node without attachments
// must not have: journal files and addresses. Lock files stay for ever, and so
// do the two files that host-local keeps for each network.
func (n *node) leftovers() (files []string) {
	n.Helper()
	must(n, filepath.WalkDir(n.stateDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		kept := filepath.Base(filepath.Dir(path)) == "locks" || d.Name() == "lock" || strings.HasPrefix(d.Name(), "last_reserved_ip.")
		file, _ := filepath.Rel(n.stateDir, path)
		if info, err := d.Info(); strings.HasPrefix(file, "ipam/") && err == nil && info.Size() == 0 {
			// host-local was killed between making the file and writing in it
			// (backend/disk/backend.go, Reserve), and cannot tell whose it is.
			kept = true
		}
		if !kept {
			files = append(files, file)
		}
		return nil
	}))
	return files
}

// stateOf is the state of a pod.
func (n *node) stateOf(p pod) []string {
	n.Helper()
	ns, err := netns.GetFromPath(p.netns)
	must(n, err)
	defer ns.Close()
	return state(n, ns)
}

// unlike says what is not as it was on a host without attachments.
func (n *node) unlike(host []string) string {
	n.Helper()
	var left string
	if files := n.leftovers(); len(files) > 0 {
		left = "left over: " + strings.Join(files, ", ")
	}
	return join(left, on("the host", difference(host, n.hostState())))
}

func on(place, difference string) string {
	if difference == "" {
		return ""
	}
	return "on " + place + ":\n" + difference
}

// join puts the problems that are not empty on lines of their own.
func join(problems ...string) string {
	return strings.Join(slices.DeleteFunc(problems, func(p string) bool { return p == "" }), "\n")
}
