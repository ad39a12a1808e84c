// Package netmanager knows which program on the host configures a netdev by
// itself whenever it appears. It reads the state of such programs below /run
// and their configuration below /etc, and asks none of them: no D-Bus.
//
// It must not know why somebody wants to know: no pods, no journal.
package netmanager

import (
	"os"
	"path/filepath"
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

// Roots are where the host's folders are: /run, /etc, /usr/lib and /sys.
type Roots struct{ Run, Etc, Lib, Sys string }

// Host are the roots of the machine that this runs on.
func Host() Roots { return Roots{Run: "/run", Etc: "/etc", Lib: "/usr/lib", Sys: "/sys"} }

// Of tells who configures a link of the host, by its name and ifindex. What
// cannot be read counts as not there: without a manager nothing waits for one.
func (r Roots) Of(name string, index int) Manager {
	switch {
	case r.hasProfile(index):
		return NetworkManager
	case r.isHotplug(name):
		return Ifupdown
	}
	return None
}

// Lacks says which of the settings that docs/deploying.md has for a link's manager
// that manager is without.
func (r Roots) Lacks(m Manager, index int) []string {
	if m != NetworkManager {
		return nil
	}
	return r.networkManagerLacks(index)
}

// HasUp tells whether ifupdown has configured a link.
func (r Roots) HasUp(name string) bool {
	b, _ := os.ReadFile(filepath.Join(r.Run, "network/ifstate"))
	return strings.HasPrefix(string(b), name+"=") || strings.Contains(string(b), "\n"+name+"=")
}
