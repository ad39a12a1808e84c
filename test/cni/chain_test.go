package cni_test

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/libcni"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// chain is a network of several plugins.
func chain(t testing.TB, plugins ...map[string]any) *libcni.NetworkConfigList {
	t.Helper()
	b, err := json.Marshal(map[string]any{"cniVersion": plugins[0]["cniVersion"], "name": plugins[0]["name"], "plugins": plugins})
	must(t, err)
	l, err := libcni.ConfListFromBytes(b)
	must(t, err)
	return l
}

func needPlugin(t *testing.T, name string) {
	t.Helper()
	if program(name) == name {
		skip(t, "plugins", "ROCE_CNI_PATH has no "+name)
	}
}

func TestCHECKAllowsForWhatALaterPluginChanged(t *testing.T) {
	tests := map[string]map[string]any{
		"tuning's MTU":         {"type": "tuning", "mtu": 4200},
		"tuning's MAC address": {"type": "tuning", "mac": "02:00:00:00:00:77"},
		"sbr's tables":         {"type": "sbr"},
	}
	if !inLab() {
		delete(tests, "tuning's MAC address") // a virtual NIC has nothing else to be known by
	}
	r := newRig(t, 1)
	before := hostState(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for name, later := range tests {
		for _, version := range []string{"0.4.0", "1.1.0"} {
			r.run(name+", "+version, func(r *rig) {
				needPlugin(r.T, later["type"].(string))
				p := r.pod()
				ipam := with(r.hostLocal(1), "routes", []any{map[string]any{"dst": "10.0.0.0/8"}})
				l := chain(r, r.config(rails[0], map[string]any{"cniVersion": version, "ipam": ipam}), later)
				_, err := r.cni.AddNetworkList(ctx, l, p.runtimeConf("net1"))
				must(r, err)
				must(r, r.cni.CheckNetworkList(ctx, l, p.runtimeConf("net1")))
				// What no plugin of the chain did is still found.
				p.exec("ip", "addr", "flush", "dev", "net1")
				if err := r.cni.CheckNetworkList(ctx, l, p.runtimeConf("net1")); code(err) != 111 {
					r.Errorf("code %d: %v", code(err), err)
				}
				must(r, r.cni.DelNetworkList(ctx, l, p.runtimeConf("net1")))
				r.expectHost(before)
				r.expectClean()
			})
		}
	}
}

func TestCHECKLeavesTheRoutesOfOtherPluginsToThem(t *testing.T) {
	r := newRig(t, 1)
	p := r.pod()
	config := r.config(rails[0])
	result := p.add("net1", config)
	b, err := json.Marshal(result)
	must(t, err)
	var previous map[string]any
	must(t, json.Unmarshal(b, &previous))
	previous["routes"] = []any{map[string]any{"dst": "10.66.0.0/16"}}
	config["prevResult"] = previous
	b, err = json.Marshal(config)
	must(t, err)
	_, err = p.direct("CHECK", "net1", b)
	must(t, err)
	p.del("net1", r.config(rails[0]))
}

func TestRoutesOfTwoRailsToOneDestinationAreBothThere(t *testing.T) {
	r := newRig(t, 2)
	before, p := hostState(t), r.pod()
	var configs []map[string]any
	var results []*current.Result
	for i := range 2 {
		configs = append(configs, r.config(rails[i], map[string]any{"ipam": map[string]any{"type": "static",
			"addresses": []any{map[string]any{"address": fmt.Sprintf("10.%d.0.5/24", i+1), "gateway": fmt.Sprintf("10.%d.0.1", i+1)},
				map[string]any{"address": fmt.Sprintf("fd00:%d::5/64", i+1), "gateway": fmt.Sprintf("fd00:%d::1", i+1)}},
			"routes": []any{map[string]any{"dst": "10.0.0.0/8"}, map[string]any{"dst": "fd00::/16"}}}}))
		results = append(results, p.add(fmt.Sprintf("net%d", i+1), configs[i]))
	}
	for command, want := range map[string]string{
		"ip route show 10.0.0.0/8":                 "10.0.0.0/8 via 10.1.0.1 dev net1 \n10.0.0.0/8 via 10.2.0.1 dev net2 metric 1",
		"ip -6 route show fd00::/16":               "dev net2 metric 1025",
		"ip route get 10.7.7.7":                    "dev net1 ",
		"ip route get 10.7.7.7 oif net2":           "via 10.2.0.1 dev net2",
		"ip -6 route get fd00:7::7 oif net2":       "via fd00:2::1 dev net2",
		"ip route get 10.7.7.7 from 10.1.0.5":      "dev net1 ",
		"ip -6 route get fd00:7::7 from fd00:1::5": "dev net1 ",
	} {
		if out := p.exec(strings.Fields(command)...); !strings.Contains(out, want) {
			t.Errorf("%s:\n%s\nwant %s", command, out, want)
		}
	}
	for i, want := range [][]int{{0, 0}, {1, 1025}} {
		if routes := results[i].Routes; len(routes) != 2 || routes[0].Priority != want[0] || routes[1].Priority != want[1] {
			t.Errorf("the result of net%d has the routes %v", i+1, routes)
		}
		must(t, p.check(fmt.Sprintf("net%d", i+1), configs[i]))
	}
	p.exec("ip", "route", "del", "10.0.0.0/8", "dev", "net2")
	if err := p.check("net2", configs[1]); code(err) != 111 || !strings.Contains(err.Error(), "no route 10.0.0.0/8 via 10.2.0.1 through net2") {
		t.Errorf("code %d: %v", code(err), err)
	}
	p.del("net2", configs[1])
	p.del("net1", configs[0])
	r.expectHost(before)
}
