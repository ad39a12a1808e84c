package netmanager

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// isHotplug tells whether ifupdown is at work, and configured to configure a link
// whenever it appears. Whether it did last time does not matter: a NIC may have
// left too early for it.
//
// udev has `ifup --allow=hotplug NAME` run (ifupdown-hotplug): what a line of
// allow-hotplug has behind "=" is not asked for, and a stanza must have the very
// name, or a mapping lead from it (do_interface in main.c).
func (r Roots) isHotplug(name string) bool {
	if _, err := os.Lstat(filepath.Join(r.Run, "network/ifstate")); err != nil {
		return false
	}
	f := interfaces{etc: r.Etc, read: map[string]bool{}}
	f.add(filepath.Join(r.Etc, "network/interfaces"))
	return slices.ContainsFunc(f.hotplug, func(word string) bool { return r.means(word, name) }) &&
		(slices.Contains(f.stanzas, name) || slices.ContainsFunc(f.mapped, func(pattern string) bool { return matches(pattern, name) }))
}

// means tells whether a word of an allow line means a link: by its name, or as
// [VARIABLE]/PATTERN[/N][=LOGICAL], where the variable is a file of the link's in
// sysfs. Which is the Nth link nobody knows before they are all there; such a
// pattern means each.
func (r Roots) means(word, name string) bool {
	variable, pattern, ok := strings.Cut(word, "/")
	if !ok {
		literal, _, _ := strings.Cut(word, "=")
		return literal == name
	}
	pattern, _, ok = strings.Cut(pattern, "/")
	if !ok {
		pattern, _, _ = strings.Cut(pattern, "=")
	}
	if variable == "" {
		return matches(pattern, name)
	}
	if strings.EqualFold(variable, "mac") {
		variable = "address"
	}
	b, _ := os.ReadFile(filepath.Join(r.Sys, "class/net", name, variable))
	for line := range strings.Lines(string(b)) {
		if matches(pattern, strings.TrimSuffix(line, "\n")) {
			return true
		}
	}
	return false
}

// matches is fnmatch(3) for what names and addresses have in them.
func matches(pattern, s string) bool {
	ok, err := filepath.Match(strings.ReplaceAll(pattern, "[!", "[^"), s)
	return ok && err == nil
}

// interfaces is what interfaces(5) says of links that appear.
type interfaces struct {
	etc  string
	read map[string]bool // files

	hotplug []string // words of allow-hotplug
	stanzas []string // names of iface
	mapped  []string // patterns of mapping
}

// add reads a file and those that it includes, each once.
func (f *interfaces) add(path string) {
	if f.read[path] {
		return
	}
	f.read[path] = true
	b, err := os.ReadFile(path)
	if err != nil {
		return
	}
	stanza := []string{}
	for line := range strings.Lines(joined(string(b))) {
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		switch keyword, args := words[0], words[1:]; {
		case keyword == "source":
			for _, path := range f.expand(path, args) {
				f.add(path)
			}
		case strings.HasPrefix(keyword, "source-dir"):
			for _, dir := range f.expand(path, args) {
				f.addFolder(dir)
			}
		case keyword == "iface":
			stanza = args[:min(1, len(args))]
			f.stanzas = append(f.stanzas, stanza...)
		case keyword == "mapping":
			f.mapped = append(f.mapped, args...)
		case keyword == "allow-hotplug" && len(args) == 0: // the stanza that it is in
			f.hotplug = append(f.hotplug, stanza...)
		case keyword == "allow-hotplug":
			f.hotplug = append(f.hotplug, args...)
		}
	}
}

// addFolder reads the files of a folder, but for those whose names have dots and
// the like: what an editor or a package leaves there.
func (f *interfaces) addFolder(dir string) {
	files, _ := os.ReadDir(dir)
	for _, file := range files {
		if !strings.ContainsFunc(file.Name(), func(c rune) bool {
			return c != '_' && c != '-' && (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
		}) {
			f.add(filepath.Join(dir, file.Name()))
		}
	}
}

// expand finds what a file includes. A wildcard finds no hidden files.
func (f *interfaces) expand(from string, patterns []string) (found []string) {
	for _, pattern := range patterns {
		below, isEtc := strings.CutPrefix(pattern, "/etc/")
		switch {
		case isEtc:
			pattern = filepath.Join(f.etc, below)
		case !filepath.IsAbs(pattern):
			pattern = filepath.Join(filepath.Dir(from), pattern)
		}
		paths, _ := filepath.Glob(pattern)
		for _, path := range paths {
			if path == pattern || !strings.HasPrefix(filepath.Base(path), ".") {
				found = append(found, path)
			}
		}
	}
	return found
}

// joined is a file without comments, and with its continued lines in one.
func joined(content string) string {
	var b strings.Builder
	continued := false
	for line := range strings.Lines(content) {
		line = strings.TrimRight(line, "\n")
		if !continued && strings.HasPrefix(strings.TrimSpace(line), "#") {
			continue
		}
		line, continued = strings.CutSuffix(line, `\`)
		b.WriteString(line)
		if !continued {
			b.WriteString("\n")
		}
	}
	return b.String()
}
