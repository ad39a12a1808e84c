package doctor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// mode reads the RDMA mode. ib_core keeps it in the variable of its parameter, so
// that the parameter follows `rdma system set` (rdma_compatdev_set in
// drivers/infiniband/core/device.c). Before Linux 5.2 there is neither.
func (p *patient) mode() (rdma.Mode, error) {
	if !p.hasModule("ib_core") {
		return "", errors.New("ib_core is not loaded")
	}
	if mode, ok := modeOf(p.sys("module/ib_core/parameters/netns_mode")); ok {
		return mode, nil
	}
	return rdma.Shared, nil
}

// modeOf reads a value of ib_core's parameter netns_mode, which is whether
// namespaces share devices.
func modeOf(value string) (rdma.Mode, bool) {
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "y", "1", "yes", "true", "on":
		return rdma.Shared, true
	case "n", "0", "no", "false", "off":
		return rdma.Exclusive, true
	}
	return "", false
}

// number is the parameter's value for a mode, in words of a remedy.
func number(m rdma.Mode) string { return strconv.Itoa(m.Parameter()) }

func mode(p *patient) (found []symptom, err error) {
	now, err := p.mode()
	if err != nil {
		return nil, err
	}
	if len(p.networks) == 0 {
		return nil, errNoNetworks
	}
	for _, n := range p.networks {
		for _, c := range n.plugins {
			if c.Type == pluginName && c.RDMAMode != "" && c.RDMAMode != now {
				found = append(found, symptom{"network " + n.name, fmt.Sprintf("requires %s, the node is in mode %s", c.RDMAMode, now), number(c.RDMAMode)})
			}
		}
	}
	return found, nil
}

// A setting is a file that sets the mode when ib_core is loaded.
type setting struct {
	file string
	mode rdma.Mode
}

func modeAtBoot(p *patient) ([]symptom, error) {
	now, err := p.mode()
	if err != nil {
		return nil, err
	}
	settings, seen := p.modeSettings()
	if !seen {
		return nil, errors.New("no folder modprobe.d can be seen")
	}
	if len(settings) == 0 && now == rdma.Exclusive {
		return []symptom{{"the node", "is in mode exclusive, which nothing below modprobe.d and on the kernel's command line asks for", number(now)}}, nil
	}
	var found []symptom
	for _, s := range settings {
		if s.mode != now {
			found = append(found, symptom{s.file, fmt.Sprintf("sets mode %s, the node is in mode %s", s.mode, now), number(now)})
		}
	}
	return found, nil
}

// modeSettings are those of modprobe.d(5) and of the kernel's command line. A
// file in /etc hides those of its name in /run and /usr/lib. ok is false where none
// of the folders is there, as in a container.
func (p *patient) modeSettings() (settings []setting, ok bool) {
	var seen []string
	for _, folder := range []struct{ root, name string }{{p.Roots.Etc, "/etc"}, {p.Roots.Run, "/run"}, {p.Roots.Lib, "/usr/lib"}} {
		if _, err := os.Stat(filepath.Join(folder.root, "modprobe.d")); err == nil {
			ok = true
		}
		files, _ := filepath.Glob(filepath.Join(folder.root, "modprobe.d/*.conf"))
		for _, file := range files {
			name := filepath.Base(file)
			if slices.Contains(seen, name) {
				continue
			}
			seen = append(seen, name)
			b, _ := os.ReadFile(file)
			for line := range strings.Lines(string(b)) {
				words := strings.Fields(line)
				if len(words) > 2 && words[0] == "options" && words[1] == "ib_core" {
					settings = appendMode(settings, folder.name+"/modprobe.d/"+name, words[2:], "netns_mode=")
				}
			}
		}
	}
	b, _ := os.ReadFile(filepath.Join(p.Roots.Proc, "cmdline"))
	return appendMode(settings, "the kernel's command line", strings.Fields(string(b)), "ib_core.netns_mode="), ok
}

func appendMode(settings []setting, file string, words []string, prefix string) []setting {
	for _, word := range words {
		if value, ok := strings.CutPrefix(word, prefix); ok {
			if mode, ok := modeOf(value); ok {
				settings = append(settings, setting{file, mode})
			}
		}
	}
	return settings
}

// modules looks for those that every RDMA program needs. One that is built in may
// show by its class only.
func modules(p *patient) (found []symptom, err error) {
	for _, m := range []struct{ name, class, lacks string }{
		{"ib_core", "infiniband", "there is no RDMA"},
		{"ib_uverbs", "infiniband_verbs", "no program can open an RDMA device"},
		{"rdma_ucm", "misc/rdma_cm", "programs that connect by rdma_cm fail"},
	} {
		if _, err := os.Stat(filepath.Join(p.Roots.Sys, "class", m.class)); err != nil && !p.hasModule(m.name) {
			found = append(found, symptom{where: m.name, what: "is not loaded: " + m.lacks})
		}
	}
	return found, nil
}

func noRails(p *patient) ([]symptom, error) {
	switch {
	case len(p.rails) > 0:
		return nil, nil
	case len(p.seen.Devices) > 0:
		return []symptom{{where: "the node", what: fmt.Sprintf("none of its %d RDMA devices is chosen, or does RoCE", len(p.seen.Devices))}}, nil
	}
	return []symptom{{where: "the node", what: "has no RDMA device"}}, nil
}
