package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// Bounds that no policy changes.
const (
	// minMTU is IPv4's (RFC 791), maxMTU the kernel's ETH_MAX_MTU.
	minMTU = 68
	maxMTU = 65535
	// Tables 253 to 255 are the kernel's own, RT_TABLE_DEFAULT, _MAIN and
	// _LOCAL; 0 is none, and the number has 32 bits.
	maxTable = 1<<32 - 1
	// A rule of priority 32766 leads to the main table. One after it would
	// hardly ever be reached.
	maxEarlyPriority = 32765
	maxPriority      = 1<<32 - 1
)

// isKernelTable tells whether a routing table is the kernel's own, whatever the
// bounds.
func isKernelTable(n int) bool { return 253 <= n && n <= 255 }

// rules are what one level of the file says: the whole, or a namespace in it.
// A nil list says nothing, an empty one allows nothing.
type rules struct {
	of string // ` of namespace "tenant-a"`, "" for the whole

	nics    []criteria
	ipam    []string
	sysctls []string

	noVirtual, noForce bool

	tables, priorities, mtu bounds
}

// bounds are a smallest and a largest number; zero bounds say nothing.
type bounds struct {
	min, max  int
	byDefault bool // the file does not say so
}

func (b bounds) set() bool      { return b != bounds{} }
func (b bounds) has(n int) bool { return b.min <= n && n <= b.max }
func (b bounds) String() string { return fmt.Sprintf("%d to %d", b.min, b.max) }

// within tells whether b allows nothing that wide does not.
func (b bounds) within(wide bounds) bool {
	return !wide.set() || wide.min <= b.min && b.max <= wide.max
}

// criteria choose NICs. A NIC must match an entry of each list that is not nil.
type criteria struct {
	names        []string // patterns for its name or an alternative name
	pciAddresses []string // patterns, in lower case
	drivers      []string
}

func (c criteria) match(n NIC) bool {
	return (c.names == nil || slices.ContainsFunc(n.Names, func(name string) bool { return matchAny(c.names, name) })) &&
		(c.pciAddresses == nil || matchAny(c.pciAddresses, strings.ToLower(n.Address))) &&
		(c.drivers == nil || slices.Contains(c.drivers, n.Driver))
}

func (c criteria) String() string {
	var parts []string
	for _, list := range []struct {
		what   string
		values []string
	}{{"names", c.names}, {"PCI addresses", c.pciAddresses}, {"drivers", c.drivers}} {
		if list.values != nil {
			parts = append(parts, list.what+" "+some(list.values, ", "))
		}
	}
	return strings.Join(parts, " with ")
}

// matchAny tells whether a shell pattern matches. An empty value, which is
// something that a NIC does not have, matches none, not even "*".
func matchAny(patterns []string, s string) bool {
	return s != "" && slices.ContainsFunc(patterns, func(p string) bool {
		ok, _ := path.Match(p, s) // the decoder has refused bad patterns
		return ok
	})
}

// A namespace has the rules for the Kubernetes namespaces that match a pattern,
// which may be a name.
type namespace struct {
	pattern string
	rules   rules
}

// others is the pattern for the namespaces that nothing else matches.
const others = "*"

// levels returns the rules that apply to a Kubernetes namespace: those for all,
// and those of the entry with its exact name, or else of every pattern that
// matches, or else of "*". The order of the file does not matter: Helm, for
// one, sorts it.
func (p *Policy) levels(name string) []rules {
	var matching, rest []rules
	for _, n := range p.namespaces {
		switch {
		case n.pattern == others:
			rest = append(rest, n.rules)
		case n.pattern == name:
			return []rules{p.rules, n.rules}
		case matchAny([]string{n.pattern}, name):
			matching = append(matching, n.rules)
		}
	}
	if matching == nil {
		matching = rest
	}
	return append([]rules{p.rules}, matching...)
}

// sysctlPath is a sysctl key with slashes: a pattern's "*" then stands for one
// part, as in sysctl.d.
func sysctlPath(key string) string { return strings.ReplaceAll(key, ".", "/") }

// listed is how many entries of a list a message shows: it ends up in an event
// of the pod, and an event has 1024 bytes.
const listed = 6

// some joins the first entries of a list.
func some(list []string, separator string) string {
	if len(list) > listed {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:listed], separator), len(list)-listed)
	}
	return strings.Join(list, separator)
}
