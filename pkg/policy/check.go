package policy

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// A Request is what a network asks for with an ADD.
type Request struct {
	// Namespace is the pod's Kubernetes namespace; "" if the runtime did not
	// say, to which only the rules of "*" apply.
	Namespace string
	NIC       NIC
	// Force is whether the NIC should be moved even if the host needs it.
	Force bool
	// IPAM is the type of the IPAM plugin, "" for none.
	IPAM string
	// Sysctls are the keys as the network has them, with IFNAME in place of the
	// interface.
	Sysctls []string
	// Table and Priority are those of source routing, MTU is in bytes. 0 is not
	// set: what the plugin then chooses is allowed.
	Table, Priority, MTU int
}

// A NIC is what rules can see of it, on the host.
type NIC struct {
	Names   []string // its name first, then the alternative names
	Address string   // PCI or auxiliary, "" for a virtual link
	Driver  string
	Virtual bool
}

func (n NIC) String() string {
	var s string
	if len(n.Names) > 0 {
		s = quote(n.Names[0])
	}
	var more []string
	for _, detail := range []string{n.Address, n.Driver} {
		if detail != "" {
			more = append(more, detail)
		}
	}
	if len(more) > 0 {
		s += " (" + strings.Join(more, ", ") + ")"
	}
	return s
}

// Denied is a request that the policy does not allow.
type Denied struct {
	File    string // the policy's, "" if there is none
	Rule    string // `"nics" of namespace "tenant-a"`
	Asked   string // `NIC "ens12np0" (0000:08:00.0, mlx5_core)`
	Allowed string // `names ens2*`
}

func (d *Denied) Error() string {
	where := "see " + d.File
	if d.File == "" {
		where = "there is no " + File
	}
	return fmt.Sprintf("the node's policy does not allow %s: %s allows %s; %s", d.Asked, d.Rule, d.Allowed, where)
}

// Check tells whether the policy allows a request: a *Denied says which rule
// does not. A policy that could not be read allows nothing, with the reason.
func (p *Policy) Check(r Request) error {
	if p.broken != nil {
		return p.broken
	}
	return p.denied(p.levels(r.Namespace), func(level rules) *Denied { return level.check(r) })
}

// CheckIPAM tells whether an IPAM plugin can have been run for an ADD of a
// namespace: a *Denied says which rule is against it. Without a namespace, as with
// commands that are about no pod, the rules for all of them count. A policy that
// could not be read says nothing of what was done before.
func (p *Policy) CheckIPAM(namespace, plugin string) error {
	levels := p.levels(namespace)
	switch {
	case p.broken != nil:
		levels = nil
	case namespace == "":
		levels = []rules{p.rules}
	}
	return p.denied(levels, func(level rules) *Denied { return level.checkIPAM(plugin) })
}

// denied is what the first of some levels does not allow.
func (p *Policy) denied(levels []rules, check func(rules) *Denied) error {
	for _, level := range levels {
		if d := check(level); d != nil {
			d.File = p.file
			return d
		}
	}
	return nil
}

func (l rules) checkIPAM(plugin string) *Denied {
	if l.ipam == nil || slices.Contains(l.ipam, plugin) {
		return nil
	}
	asked := "IPAM plugin " + quote(plugin)
	if plugin == "" {
		asked = "a network without an IPAM plugin"
	}
	return l.denied("ipam", asked, choices(quoted(l.ipam), ", ", "none"))
}

// check returns what one level does not allow, nil if it allows all.
func (l rules) check(r Request) *Denied {
	if l.nics != nil && !slices.ContainsFunc(l.nics, func(c criteria) bool { return c.match(r.NIC) }) {
		return l.denied("nics", "NIC "+r.NIC.String(), choices(l.nics, "; or ", "no NIC"))
	}
	if l.noVirtual && r.NIC.Virtual {
		return l.denied("virtual", "the virtual link "+r.NIC.String(), "hardware only")
	}
	if l.noForce && r.Force {
		return l.denied("force", `"force"`, "no NIC that the host needs")
	}
	if d := l.checkIPAM(r.IPAM); d != nil {
		return d
	}
	if key, ok := l.badSysctl(r.Sysctls); ok {
		return l.denied("sysctls", "sysctl "+quote(key), choices(l.sysctls, ", ", "none"))
	}
	return l.outOfBounds(r)
}

// outOfBounds returns which number is not allowed, nil if all are.
func (l rules) outOfBounds(r Request) *Denied {
	for _, number := range []struct {
		key, what string
		value     int
		bounds    bounds
		never     bool // whatever the bounds
	}{
		{"tables", "table", r.Table, l.tables, isKernelTable(r.Table)},
		{"priorities", "priority", r.Priority, l.priorities, false},
		{"mtu", "MTU", r.MTU, l.mtu, false},
	} {
		if number.value == 0 || !number.bounds.set() || number.bounds.has(number.value) && !number.never {
			continue
		}
		d := l.denied(number.key, fmt.Sprintf("%s %d", number.what, number.value), number.bounds.String())
		if number.bounds.byDefault {
			d.Rule = "the default of " + d.Rule
		}
		if number.never {
			d.Allowed += ", but never 253 to 255, the kernel's own"
		}
		return d
	}
	return nil
}

func (l rules) denied(key, asked, allowed string) *Denied {
	return &Denied{Rule: fmt.Sprintf("%q%s", key, l.of), Asked: asked, Allowed: allowed}
}

// badSysctl finds a key that no pattern matches.
func (l rules) badSysctl(keys []string) (key string, found bool) {
	if l.sysctls == nil {
		return "", false
	}
	i := slices.IndexFunc(keys, func(key string) bool {
		return !slices.ContainsFunc(l.sysctls, func(pattern string) bool {
			ok, _ := path.Match(sysctlPath(pattern), sysctlPath(key))
			return ok
		})
	})
	if i < 0 {
		return "", false
	}
	return keys[i], true
}

// choices lists what is allowed, for a message.
func choices[T any](list []T, separator, none string) string {
	if len(list) == 0 {
		return none
	}
	texts := make([]string, len(list))
	for i, entry := range list {
		texts[i] = fmt.Sprint(entry)
	}
	return some(texts, separator)
}

func quoted(list []string) []string {
	var all []string
	for _, s := range list {
		all = append(all, fmt.Sprintf("%q", s))
	}
	return all
}

// longest is how much of a network's own words a message repeats.
const longest = 64

func quote(s string) string {
	if len(s) > longest {
		return fmt.Sprintf("%q…", s[:longest])
	}
	return fmt.Sprintf("%q", s)
}
