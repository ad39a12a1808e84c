package cni_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

// versions are those of the specification; a configuration may also name none,
// which is 0.1.0.
var versions = []string{"", "0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"}

// inVersion is a configuration of a version.
func inVersion(config map[string]any, version string) []byte {
	config = maps.Clone(config)
	if config["cniVersion"] = version; version == "" {
		delete(config, "cniVersion")
	}
	b, err := json.Marshal(config)
	if err != nil {
		panic(err)
	}
	return b
}

// keys lists the keys of a JSON value, with the way to each.
func keys(value any, way string) (all []string) {
	switch value := value.(type) {
	case map[string]any:
		for key, inside := range value {
			all = append(append(all, way+"."+key), keys(inside, way+"."+key)...)
		}
	case []any:
		for i, inside := range value {
			all = append(all, keys(inside, fmt.Sprintf("%s[%d]", way, i))...)
		}
	}
	slices.Sort(all)
	return all
}

func resultKeys(t testing.TB, result []byte) []string {
	t.Helper()
	var value map[string]any
	must(t, json.Unmarshal(result, &value))
	return keys(value, "")
}

func TestAConfigurationOfAnyVersionGetsAResultOfThatVersion(t *testing.T) {
	for _, version := range versions {
		t.Run(cmp.Or(version, "none"), func(t *testing.T) {
			r := newRig(t, 1)
			before, p := hostState(t), r.pod()
			ipam := map[string]any{"type": "static", "addresses": []any{map[string]any{"address": "10.1.1.5/24", "gateway": "10.1.1.1"}, map[string]any{"address": "fd00:1::5/64"}},
				"routes": []any{map[string]any{"dst": "10.9.0.0/16", "mtu": 1400, "priority": 9, "table": 900}}}
			config := inVersion(r.config(rails[0], map[string]any{"ipam": ipam, "mtu": 4200}), version)
			out, err := p.direct("ADD", "net1", config)
			must(t, err)
			have := resultKeys(t, out)
			if version == "1.1.0" {
				for _, key := range []string{".interfaces[0].mtu", ".routes[0].priority", ".routes[0].table", ".routes[0].mtu"} {
					if !slices.Contains(have, key) {
						t.Errorf("the result has no %s:\n%s", key, out)
					}
				}
			} else if text := string(out); strings.Contains(text, "mtu") || strings.Contains(text, "pciID") || strings.Contains(text, "priority") || strings.Contains(text, "table") {
				t.Errorf("keys of 1.1.0 in a result of %s:\n%s", version, out)
			}
			if !strings.Contains(string(out), fmt.Sprintf("%q", cmp.Or(version, "0.1.0"))) {
				t.Errorf("of another version:\n%s", out)
			}
			if version >= "0.4.0" {
				_, err = p.direct("CHECK", "net1", []byte(fmt.Sprintf(`%s,"prevResult":%s}`, strings.TrimSuffix(string(config), "}"), out)))
				must(t, err)
			}
			for range 2 {
				_, err = p.direct("DEL", "net1", config)
				must(t, err)
				r.expectHost(before)
			}
			r.expectClean()
		})
	}
}

func TestAResultHasTheKeysOfHostDevices(t *testing.T) {
	if inLab() {
		t.Skip("host-device does not leave a NIC as it found it")
	}
	if program("host-device") == "host-device" {
		skip(t, "plugins", "ROCE_CNI_PATH has no host-device")
	}
	r := newRig(t, 2)
	for _, version := range versions[:len(versions)-1] { // 1.1.0 has keys that host-device leaves out
		var have [2][]string
		for i, plugin := range []string{"roce-host-device", "host-device"} {
			p, config := r.pod(), inVersion(r.config(rails[i], map[string]any{"type": plugin}), version)
			out, err := p.call(plugin, "ADD", "net1", config)
			must(t, err)
			have[i] = resultKeys(t, out)
			_, err = p.call(plugin, "DEL", "net1", config)
			must(t, err)
		}
		if !slices.Equal(have[0], have[1]) {
			t.Errorf("version %q:\n%v\nhost-device's:\n%v", version, have[0], have[1])
		}
	}
}

func TestAVersionWithoutInterfacesNeedsAnAddress(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	for _, version := range []string{"", "0.2.0"} {
		config := inVersion(r.config(rails[0], map[string]any{"ipam": nil}), version)
		if _, err := p.direct("ADD", "net1", config); code(err) != 7 || !strings.Contains(err.Error(), `use "cniVersion": "0.3.1" or later`) {
			t.Errorf("code %d: %v", code(err), err)
		}
		_, err := p.direct("DEL", "net1", config)
		must(t, err)
	}
	r.expectHost(before)
}

func TestAnADDWhoseAnswerNobodyGetsIsUndone(t *testing.T) {
	r := newRig(t, 1)
	before, p := hostState(t), r.pod()
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	must(t, err)
	defer full.Close()
	reader, closed, err := os.Pipe()
	must(t, err)
	defer closed.Close()
	reader.Close()
	for _, stdout := range []*os.File{full, closed} {
		cmd := p.command("roce-host-device", "ADD", "net1", inVersion(r.config(rails[0]), "1.1.0"))
		cmd.Stdout, cmd.Stderr = stdout, nil
		if err := cmd.Run(); err == nil {
			t.Errorf("success, with %s", stdout.Name())
		}
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("%s: %s", stdout.Name(), cmd.ProcessState)
		}
		r.expectHost(before)
		r.expectClean()
	}
}
