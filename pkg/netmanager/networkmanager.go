package netmanager

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// hasProfile tells whether NetworkManager has activated a profile on a link, and
// not made one up for what it found: it writes down the profile of each device
// (nm_manager_write_device_state in src/core/nm-manager.c), and those that it
// made up are files, too, marked as such (nms-keyfile-writer.c).
func (r Roots) hasProfile(index int) bool {
	profile := value(r.device(index), "connection-uuid")
	if profile == "" {
		return false
	}
	own, _ := filepath.Glob(filepath.Join(r.Run, "NetworkManager/system-connections/*.nmconnection"))
	for _, path := range own {
		if value(path, "uuid") == profile {
			return value(path, "external") != "true"
		}
	}
	return true
}

func (r Roots) device(index int) string {
	return filepath.Join(r.Run, "NetworkManager/devices", strconv.Itoa(index))
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
