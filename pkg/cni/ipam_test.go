package cni

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/vishvananda/netlink"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// The running command may be about another pod, of another network.
func TestAnAddressIsFreedWithAllThatItWasAskedForWith(t *testing.T) {
	dir := t.TempDir()
	script := "#!/bin/bash\nd=$(dirname \"$0\"); cat >$d/config\nenv | grep ^CNI_ | sort >$d/env\n"
	if err := os.WriteFile(filepath.Join(dir, "scripted"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	const config = `{"cniVersion":"1.1.0","name":"its","type":"roce-host-device","ipam":{"type":"scripted"}}`
	for key, value := range map[string]string{"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "running", "CNI_IFNAME": "net9", "CNI_NETNS": "/run/netns/running", "CNI_ARGS": "A=running", "CNI_PATH": "/nowhere"} {
		t.Setenv(key, value)
	}
	o := &operation{Plugin: &Plugin{Log: slog.New(slog.DiscardHandler)}, ctx: t.Context(), args: &skel.CmdArgs{Path: "/nowhere:" + dir}, config: &netConf{}, frees: newIPAMQueue(time.Minute, time.Minute)}
	o.config.IPAM.Type = "another"
	r := &attachment.Record{ContainerID: "its", IfName: "net1", Netns: attachment.Namespace{Path: "/run/netns/its"}, Args: "A=its;B=2", Config: []byte(config)}
	if err := o.freeAddress(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"config": config, "env": "CNI_ARGS=A=its;B=2\nCNI_COMMAND=DEL\nCNI_CONTAINERID=its\nCNI_IFNAME=net1\nCNI_NETNS=/run/netns/its\nCNI_PATH=/nowhere:" + dir + "\n"}
	for file, content := range want {
		if b, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(b) != content {
			t.Errorf("%s: %s, %v, want %s", file, b, err, content)
		}
	}
	for _, config := range []string{"", `{"ipam": {}}`} { // no IPAM plugin, no address
		r.Config = []byte(config)
		if err := o.freeAddress(t.Context(), r); err != nil {
			t.Errorf("%q: %v", config, err)
		}
	}
	for _, config := range []string{`{`, `{"ipam": {"type": "none-such"}}`} {
		r.Config = []byte(config)
		if err := o.freeAddress(t.Context(), r); err == nil {
			t.Errorf("%q: freed", config)
		}
	}
	r.Config = []byte(config)
	o.frees = newIPAMQueue(time.Minute, 0)
	if o.freeFailed(r); r.Config == nil {
		t.Error("the plugin was not asked, but nothing says that an address is to be freed")
	}
	o.frees = newIPAMQueue(time.Minute, time.Minute)
	if o.freeFailed(r); r.Config != nil {
		t.Errorf("it is to be freed for ever: %s", r.Config)
	}
}

func TestAnIPAMPluginIsLookedForInTheRuntimesFolders(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"": true, "there": true, "missing": false} {
		o := &operation{args: &skel.CmdArgs{Path: "/nowhere:" + dir}, config: &netConf{}}
		o.config.IPAM.Type = name
		if path, err := o.findIPAM(); (err == nil) != want || err == nil && name != "" && path != filepath.Join(dir, name) {
			t.Errorf("%q: %q, %v", name, path, err)
		}
	}
}

func TestSysctlsAreTheInterfacesOwnAndThoseOfSourceRoutingComeFirst(t *testing.T) {
	const routing = "net/ipv4/conf/net1/arp_ignore=1 net/ipv4/conf/net1/arp_announce=2 net/ipv4/conf/net1/rp_filter=2"
	for _, tt := range []struct {
		routing bool
		sysctls map[string]string
		want    string // "" is an error
	}{
		{false, map[string]string{"net.ipv4.conf.IFNAME.arp_notify": "1", "net/ipv6/conf/IFNAME/accept_ra": "0"}, "net/ipv4/conf/net1/arp_notify=1 net/ipv6/conf/net1/accept_ra=0"},
		{false, map[string]string{"net.ipv4.conf.IFNAME.c": "3", "net.ipv4.conf.IFNAME.b": "2", "net.ipv4.conf.IFNAME.a": "1"}, "net/ipv4/conf/net1/a=1 net/ipv4/conf/net1/b=2 net/ipv4/conf/net1/c=3"},
		{true, nil, routing},
		{true, map[string]string{"net.ipv4.conf.IFNAME.rp_filter": "0"}, routing + " net/ipv4/conf/net1/rp_filter=0"},
		{false, map[string]string{"net.ipv4.conf.net1.arp_notify": "1"}, ""},
		{false, map[string]string{"net.ipv4.IFNAME.conf.arp_notify": "1"}, ""},
		{false, map[string]string{"net.ipv4.conf.IFNAME": "1"}, ""},
		{false, map[string]string{"net.ipv4.conf.IFNAME.a.b": "1"}, ""},
		{false, map[string]string{"kernel.ipv4.conf.IFNAME.a": "1"}, ""},
		{false, map[string]string{"net..conf.IFNAME.a": "1"}, ""},
		{false, map[string]string{"net.ipv4.conf.IFNAME.": "1"}, ""},
	} {
		c := &netConf{}
		c.SourceRouting.On, c.Sysctls = tt.routing, tt.sysctls
		list, err := c.sysctls("net1")
		var got []string
		for _, s := range list {
			got = append(got, s.Path+"="+s.Value)
		}
		if strings.Join(got, " ") != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%v, %v: %q, %v", tt.routing, tt.sysctls, got, err)
		}
	}
}

func TestANameThatMeansSomethingElseToTheKernelNamesNoInterface(t *testing.T) {
	for name, want := range map[string]bool{"net1": true, "all1": true, "eth0": true, "net%d": false, "all": false, "default": false, "lo": false} {
		if err := checkIfName(name); (err == nil) != want {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestAnErrorOfACommandHasTheCodeOfTheFirstAndSaysThemAll(t *testing.T) {
	first, second := fail(codeReturn, "ens1", "one", errors.New("x\ny"), "do"), fail(codeIPAM, "ens1", "two", nil, "and")
	if got := joined([]error{first}); !errors.Is(got, first) {
		t.Errorf("%v", got)
	}
	var got *types.Error
	if !errors.As(joined([]error{first, second}), &got) || got.Code != codeReturn || got.Msg != fmt.Sprintf("%v\n%v", first, second) {
		t.Errorf("%+v", got)
	}
	if first.Msg != "ens1: one: x; y" || first.Details != "do" || second.Msg != "ens1: two" {
		t.Errorf("%+v, %+v", first, second)
	}
	held := fail(codeMove, "ens1", "lock it", fmt.Errorf("lock: %w", &attachment.HeldError{What: "NIC ens1", Holder: "a pod"}), "wait")
	if held.Code != types.ErrTryAgainLater || held.Msg != "NIC ens1 is being changed by a pod" || held.Details != "try again" {
		t.Errorf("%+v", held)
	}
	if !slices.Equal([]uint{codeNICNotFound, codeGateway, codeNotAvailable, codeLimited}, []uint{100, 113, 50, 51}) {
		t.Error("codes have moved")
	}
}

func TestAGuardThatCannotTellKeepsTheNIC(t *testing.T) {
	link := &netlink.Device{LinkAttrs: netlink.LinkAttrs{Name: "ens12np0"}}
	for force, want := range map[bool]string{
		false: `112 ens12np0: find out whether the host needs it: permission denied; "force": true moves it all the same`, true: "",
	} {
		o := &operation{config: &netConf{Force: force}}
		err := o.guard(t.Context(), link, func(context.Context, netlink.Link) (string, error) { return "", os.ErrPermission })
		if told(err) != want {
			t.Errorf("force %v: %s, want %s", force, told(err), want)
		}
	}
}
