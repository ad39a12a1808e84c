// Package netmanager knows which program on the host configures a netdev by
// itself whenever it appears. It reads the state of such programs below /run
// and their configuration below /etc, and asks none of them: no D-Bus.
//
// It must not know why somebody wants to know: no pods, no journal.
package netmanager

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Manager is such a program, None if it is a person or a script.
//
// systemd-networkd is not one of them: it makes a netdev what its .network file
// says, whatever it finds there, and takes an address that is there already as
// its own. The others leave alone what somebody else has started to configure.
type Manager string

const (
	// None is nobody, or somebody who need not be waited for.
	None Manager = ""
	// NetworkManager takes a netdev that has addresses when it first sees it
	// for one that somebody else manages ("connected (externally)"), and does
	// not activate its profile.
	NetworkManager Manager = "NetworkManager"
	// Ifupdown fails if an address is there already. udev runs it for
	// interfaces that are allow-hotplug.
	Ifupdown Manager = "ifupdown"
)

// Roots are where the host's folders are: /run and /etc.
type Roots struct{ Run, Etc string }

// Of tells who configures a link of the host, by its name and ifindex. What
// cannot be read counts as not there: without a manager nothing waits for one.
func (r Roots) Of(name string, index int) Manager {
	switch {
	case hasProfile(filepath.Join(r.Run, "NetworkManager"), index):
		return NetworkManager
	case r.isHotplug(name):
		return Ifupdown
	}
	return None
}

// HasUp tells whether ifupdown has configured a link.
func (r Roots) HasUp(name string) bool {
	b, _ := os.ReadFile(filepath.Join(r.Run, "network/ifstate"))
	return strings.HasPrefix(string(b), name+"=") || strings.Contains(string(b), "\n"+name+"=")
}

// isHotplug tells whether ifupdown is in use, and set up to configure a link
// whenever it appears. Whether it did last time does not matter: a NIC may have
// left too early for it.
func (r Roots) isHotplug(name string) bool {
	if _, err := os.Lstat(filepath.Join(r.Run, "network/ifstate")); err != nil {
		return false
	}
	more, _ := filepath.Glob(filepath.Join(r.Etc, "network/interfaces.d/*"))
	for _, path := range append(more, filepath.Join(r.Etc, "network/interfaces")) {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(b)) {
			words := strings.Fields(line)
			if len(words) > 1 && words[0] == "allow-hotplug" && slices.Contains(words[1:], name) {
				return true
			}
		}
	}
	return false
}

// hasProfile tells whether NetworkManager has activated a profile on a link, and
// not made one up for what it found: it writes down the profile of each device
// (nm_manager_write_device_state in src/core/nm-manager.c), and those that it
// made up are files, too, marked as such (nms-keyfile-writer.c).
func hasProfile(dir string, index int) bool {
	profile := value(filepath.Join(dir, "devices", strconv.Itoa(index)), "connection-uuid")
	if profile == "" {
		return false
	}
	own, _ := filepath.Glob(filepath.Join(dir, "system-connections", "*.nmconnection"))
	for _, path := range own {
		if value(path, "uuid") == profile {
			return value(path, "external") != "true"
		}
	}
	return true
}

// value reads a key of a key file, "" if it is not there. Of those that are read
// here no key is in two groups.
func value(path, key string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSpace(line), "="); ok && k == key {
			return v
		}
	}
	return ""
}
