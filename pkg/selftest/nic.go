package selftest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A nic is one of the host's, by its name there.
type nic struct {
	name   string
	device *rdma.Device // nil if it has none
}

// nicNamed looks a NIC up on the host.
func (t *test) nicNamed(name string) (nic, error) {
	link, err := t.host.LinkNamed(name)
	if err != nil {
		return nic{}, err
	}
	if link == nil {
		return nic{}, fmt.Errorf("no NIC %q on this node; compare with `ip link`", name)
	}
	n := nic{name: link.Attrs().Name}
	host, err := rdma.Open(t.host.NS)
	if errors.Is(err, rdma.ErrNoSubsystem) {
		return n, nil
	}
	if err != nil {
		return n, err
	}
	defer host.Close()
	device, err := host.DeviceOf(t.Node, n.name)
	if errors.Is(err, rdma.ErrNoDevice) {
		return n, nil
	}
	n.device = &device
	return n, err
}

// candidates are the NICs to try where none was named: those with an RDMA
// device, first those without an address, which the host itself hardly uses.
func (t *test) candidates(ctx context.Context) ([]nic, error) {
	var all []nic
	states := map[string]netdev.State{}
	for _, name := range t.Node.HardwareNetdevs() {
		link, err := t.host.LinkNamed(name)
		if err != nil {
			return nil, err
		}
		if link == nil {
			continue // a pod has just got it
		}
		n, err := t.nicNamed(name)
		if err != nil {
			return nil, err
		}
		if n.device == nil {
			continue
		}
		if states[name], err = t.host.State(ctx, link); err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return idleFirst(all, states), nil
}

func idleFirst(all []nic, states map[string]netdev.State) []nic {
	var idle, busy []nic
	for _, n := range all {
		if len(states[n.name].Addresses) == 0 {
			idle = append(idle, n)
		} else {
			busy = append(busy, n)
		}
	}
	return append(idle, busy...)
}

// A view is all that can be seen of a NIC on the host, by what it is.
type view map[string]string

// look describes a NIC on the host: by what netlink says, which the plugin
// restores, and by the kernel's files of it, whoever sets those.
func (t *test) look(ctx context.Context, n nic) (view, error) {
	link, err := t.host.LinkNamed(n.name)
	if err != nil {
		return nil, err
	}
	if link == nil {
		return view{"": "not on the host"}, nil
	}
	state, err := t.host.State(ctx, link)
	if err != nil {
		return nil, err
	}
	v := view{}
	if err := v.addState(state); err != nil {
		return nil, err
	}
	v.addFiles(filepath.Join(t.Node.Sys, "class/net", n.name), isPassing)
	for _, folder := range []string{"ipv4/conf", "ipv6/conf", "ipv4/neigh", "ipv6/neigh"} {
		v.addFiles(filepath.Join("/proc/sys/net", folder, n.name), func(string) bool { return false })
	}
	if n.device != nil {
		now, err := t.nicNamed(n.name)
		if err != nil {
			return nil, err
		}
		v["RDMA device"] = "none"
		if now.device != nil {
			v["RDMA device"] = now.device.Name + " " + now.device.NodeGUID
		}
	}
	return v, nil
}

func (v view) addState(s netdev.State) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	for name, value := range parts {
		v[name] = string(value)
	}
	return nil
}

// addFiles adds what the files in a folder say.
func (v view) addFiles(folder string, ignore func(name string) bool) {
	entries, _ := os.ReadDir(folder) // a NIC without IPv6 has no such settings
	for _, e := range entries {
		if !e.Type().IsRegular() || ignore(e.Name()) {
			continue
		}
		if value, err := kernelfile.Read(filepath.Join(folder, e.Name())); err == nil {
			v[filepath.Join(folder, e.Name())] = value
		}
	}
}

// isPassing tells which files of a netdev's folder tell of its link at the moment,
// or are the kernel's to number.
func isPassing(file string) bool {
	return strings.HasPrefix(file, "carrier") || slices.Contains([]string{
		"operstate", "dormant", "testing", "speed", "duplex", "link_mode", "ifindex", "iflink", "uevent", "phys_switch_id", "proto_down",
	}, file)
}

// differences says what is not as it was.
func (v view) differences(now view) error {
	all := maps.Clone(v)
	maps.Copy(all, now)
	var lines []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		if before, after := v[what], now[what]; before != after {
			lines = append(lines, fmt.Sprintf("%s is %s, was %s", what, orNothing(after), orNothing(before)))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	return errors.New(strings.Join(lines, "; "))
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}
