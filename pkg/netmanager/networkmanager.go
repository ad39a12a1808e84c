package netmanager

import (
	"os"
	"path/filepath"
	"slices"
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

// networkManagerLacks looks for the two settings without which a link does not
// come back as it was, or late. The metric that NetworkManager has numbered is in
// the device's file only where no profile and no default gives one
// (nm_device_get_route_metric in src/core/devices/nm-device.c).
func (r Roots) networkManagerLacks(index int) (lacks []string) {
	if !slices.Contains(r.noAutoDefault(), "*") {
		lacks = append(lacks, "no-auto-default=*")
	}
	if value(r.device(index), "route-metric-default-effective") != "" {
		lacks = append(lacks, "ipv4.route-metric and ipv6.route-metric")
	}
	return lacks
}

func (r Roots) device(index int) string {
	return filepath.Join(r.Run, "NetworkManager/devices", strconv.Itoa(index))
}

// noAutoDefault is that list of NetworkManager's configuration.
func (r Roots) noAutoDefault() (list []string) {
	for _, path := range r.configuration() {
		for _, e := range entries(path) {
			words := strings.FieldsFunc(e.value, func(r rune) bool { return strings.ContainsRune(",; \t", r) })
			switch {
			case e.group != "main":
			case e.key == "no-auto-default":
				list = words
			case e.key == "no-auto-default+":
				list = append(list, words...)
			case e.key == "no-auto-default-":
				list = slices.DeleteFunc(list, func(w string) bool { return slices.Contains(words, w) })
			}
		}
	}
	return list
}

// configuration are NetworkManager's files as it reads them, the later ones over
// the earlier. One in /etc stands for one of the same name in /run, and that for
// one in /usr/lib (read_entire_config in src/core/nm-config.c).
func (r Roots) configuration() (files []string) {
	seen := map[string]bool{}
	for _, root := range []string{r.Etc, r.Run, r.Lib} {
		folder, _ := filepath.Glob(filepath.Join(root, "NetworkManager/conf.d/*.conf"))
		folder = slices.DeleteFunc(folder, func(path string) bool {
			name := filepath.Base(path)
			hidden := seen[name]
			seen[name] = true
			return hidden
		})
		if root == r.Etc {
			folder = slices.Insert(folder, 0, filepath.Join(r.Etc, "NetworkManager/NetworkManager.conf"))
		}
		files = slices.Concat(folder, files)
	}
	return files
}

// An entry is one of a key file.
type entry struct{ group, key, value string }

func entries(path string) (all []entry) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	group := ""
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if name, ok := strings.CutPrefix(line, "["); ok {
			group = strings.TrimSuffix(name, "]")
		} else if k, v, ok := strings.Cut(line, "="); ok { // a comment is no key that anybody asks for
			all = append(all, entry{group, strings.TrimSpace(k), strings.TrimSpace(v)})
		}
	}
	return all
}

// value reads a key of a key file, "" if it is not there. Of those that are read
// so no key is in two groups.
func value(path, key string) string {
	for _, e := range entries(path) {
		if e.key == key {
			return e.value
		}
	}
	return ""
}
