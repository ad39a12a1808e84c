package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A mutation is one mistake that somebody could make.
type mutation struct {
	file, idea    string
	before, after string // pieces of the file
	tests         []check
	list, at      string // where it is written down
}

func (m mutation) String() string { return m.file + ": " + m.idea }

// A check is tests of a package that should notice it, by a pattern of their
// names: "" is all. lab is the RDMA mode of the lab that they run in, "" for this
// machine.
type check struct{ lab, pkg, pattern string }

// load reads the lists in a folder.
func load(dir string) (all []mutation, err error) {
	paths, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	if err != nil {
		return nil, err
	}
	for _, path := range paths {
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		line := 1
		for paragraph := range strings.SplitSeq(string(b), "\n\n") {
			at := fmt.Sprintf("%s:%d", path, line)
			line += strings.Count(paragraph, "\n") + 2
			m, err := parse(paragraph)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", at, err)
			}
			if m.file != "" {
				m.list, m.at = strings.TrimSuffix(filepath.Base(path), ".txt"), at
				all = append(all, m)
			}
		}
	}
	return all, nil
}

// parse reads a paragraph of a list; one of remarks only is none. Its first line
// is the file and the idea. What begins with "- " is to be replaced, with what
// begins with "+ ", if anything does; "? " begins a package, and a pattern for its
// tests, after "exclusive:" or "shared:" if they need the lab; "#" a remark.
func parse(paragraph string) (m mutation, err error) {
	var before, after []string
	for line := range strings.SplitSeq(strings.Trim(paragraph, "\n"), "\n") {
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case strings.HasPrefix(kind, "#") || line == "":
		case kind == "-":
			before = append(before, rest)
		case kind == "+":
			after = append(after, rest)
		case kind == "?":
			pkg, pattern, _ := strings.Cut(rest, " ")
			lab, pkg, found := strings.Cut(pkg, ":")
			if !found {
				lab, pkg = "", lab
			}
			m.tests = append(m.tests, check{lab, pkg, pattern})
		case m.file == "" && strings.HasSuffix(kind, ":"):
			m.file, m.idea = strings.TrimSuffix(kind, ":"), rest
		default:
			return m, fmt.Errorf("%q is none of what may be here", line)
		}
	}
	m.before, m.after = strings.Join(before, "\n"), strings.Join(after, "\n")
	if m.file != "" && (m.before == "" || len(m.tests) == 0) {
		return m, fmt.Errorf("%s: nothing to replace, or nobody to notice", m)
	}
	return m, nil
}
