package cni_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// Each of them has a line of its own in a list, and could be missed there.
func TestWhateverTheHostSetsOfANICsSysctlsComesBack(t *testing.T) {
	passing := []string{
		"disable_ipv6", "mtu", // follow the addresses and the link
		"ioam6_id_wide", "ra_honor_pio_life", "ra_honor_pio_pflag", "regen_min_advance", // the kernel does not tell them with the link (ipv6_store_devconf)
	}
	r := newRig(t, 1)
	nic := rails[0]
	config := r.config(nic, map[string]any{"ipam": nil})
	fresh := interfaceSysctls(t, nic)
	t.Cleanup(func() {
		if inLab() { // whose NICs outlive the test
			for path, value := range fresh {
				_ = os.WriteFile(sysctlFile(path, nic), []byte(value), 0)
			}
		}
	})
	for path, value := range fresh {
		number, err := strconv.Atoi(value)
		if err != nil || slices.Contains(passing, filepath.Base(path)) {
			continue
		}
		for _, other := range []int{number + 1, number - 1} { // no further, for many are switches
			if os.WriteFile(sysctlFile(path, nic), []byte(strconv.Itoa(other)), 0) == nil {
				break
			}
		}
	}
	host := interfaceSysctls(t, nic)
	set := 0
	for path, value := range host {
		if value != fresh[path] {
			set++
		}
	}
	if most := len(host) * 3 / 4; set < most {
		t.Fatalf("only %d of %d sysctls can be set", set, len(host))
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
