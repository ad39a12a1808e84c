package cni_test

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each of them has a line of its own in a list, and could be missed there, or be
// taken for another: in some round one of any two is set, and the other is not.
func TestWhateverTheHostSetsOfANICsSysctlsComesBack(t *testing.T) {
	passing := []string{
		"disable_ipv6", "mtu", // follow the addresses and the link
		"ioam6_id_wide", "ra_honor_pio_life", "ra_honor_pio_pflag", "regen_min_advance", // the kernel does not tell them with the link (ipv6_store_devconf)
	}
	r := newRig(t, 1)
	nic := rails[0]
	config := r.config(nic, map[string]any{"ipam": nil})
	fresh := interfaceSysctls(t, nic)
	paths := slices.DeleteFunc(slices.Sorted(maps.Keys(fresh)), func(path string) bool {
		_, err := strconv.Atoi(fresh[path])
		return err != nil || slices.Contains(passing, filepath.Base(path))
	})
	reset := func() {
		for _, path := range paths {
			_ = os.WriteFile(sysctlFile(path, nic), []byte(fresh[path]), 0)
		}
	}
	t.Cleanup(func() {
		if inLab() { // whose NICs outlive the test
			reset()
		}
	})
	set := map[string]bool{}
	for round := 0; len(paths)>>round > 0; round++ {
		reset()
		for i, path := range paths {
			if (i+1)>>round&1 == 0 {
				continue
			}
			number, _ := strconv.Atoi(fresh[path])
			others := []int{number + 1, number + 10, number - 1} // some are in ticks
			if number == 1 {
				others = []int{0, 2} // mostly a switch
			}
			for _, other := range others {
				_ = os.WriteFile(sysctlFile(path, nic), []byte(strconv.Itoa(other)), 0)
				if now, _ := os.ReadFile(sysctlFile(path, nic)); strings.TrimSpace(string(now)) != fresh[path] {
					break
				}
			}
		}
		host := interfaceSysctls(t, nic)
		for path, value := range host {
			set[path] = set[path] || value != fresh[path]
		}
		p := r.pod()
		p.add("net1", config)
		p.del("net1", config)
		for path, value := range interfaceSysctls(t, nic) {
			if value != host[path] {
				t.Errorf("%s is %s, was %s; a fresh NIC's is %s", path, value, host[path], fresh[path])
			}
		}
	}
	maps.DeleteFunc(set, func(_ string, is bool) bool { return !is })
	if most := len(paths) * 3 / 4; len(set) < most {
		t.Errorf("only %d of %d sysctls can be set", len(set), len(paths))
	}
}

// interfaceSysctls are the sysctls of an interface, by "ipv4/conf/NIC/arp_filter".
func interfaceSysctls(t *testing.T, nic string) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, table := range []string{"ipv4/conf/NIC", "ipv6/conf/NIC", "ipv4/neigh/NIC", "ipv6/neigh/NIC"} {
		entries, err := os.ReadDir(sysctlFile(table, nic))
		must(t, err)
		for _, e := range entries {
			if b, err := os.ReadFile(sysctlFile(table+"/"+e.Name(), nic)); err == nil { // stable_secret may not be read
				found[table+"/"+e.Name()] = strings.TrimSpace(string(b))
			}
		}
	}
	if len(found) == 0 {
		t.Fatal("no sysctls")
	}
	return found
}

func sysctlFile(path, nic string) string {
	return "/proc/sys/net/" + strings.ReplaceAll(path, "NIC", nic)
}

// A file takes numbers that newer kernels refuse in a message (2 for a switch).
func TestASysctlThatCannotComeBackKeepsNoOtherFromIt(t *testing.T) {
	r := newRig(t, 1)
	nic := rails[0]
	want := map[string]string{"ipv4/conf/NIC/arp_filter": "1", "ipv4/conf/NIC/tag": "7"}
	for path, value := range map[string]string{"ipv4/conf/NIC/send_redirects": "2", "ipv4/conf/NIC/arp_filter": "1", "ipv4/conf/NIC/tag": "7"} {
		file := sysctlFile(path, nic)
		fresh, err := os.ReadFile(file)
		must(t, err)
		must(t, os.WriteFile(file, []byte(value), 0))
		t.Cleanup(func() { _ = os.WriteFile(file, fresh, 0) }) // the lab's NICs outlive the test
	}
	p, config := r.pod(), r.config(nic, map[string]any{"ipam": nil})
	p.add("net1", config)
	p.del("net1", config)
	have := interfaceSysctls(t, nic)
	for path, value := range want {
		if have[path] != value {
			t.Errorf("%s is %s, was %s", path, have[path], value)
		}
	}
}
