package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A decoder turns the file into a Config and collects what is wrong.
type decoder struct {
	file string
	errs Errors
	// cost is that of a mistake in what is being read, unmatched that of an
	// entry of a list that matches nothing.
	cost, unmatched Cost
}

// errorf notes a mistake in what is being read.
func (d *decoder) errorf(at Position, format string, args ...any) {
	d.fault(d.cost, at, format, args...)
}

// notef notes what is not a mistake.
func (d *decoder) notef(at Position, format string, args ...any) {
	d.fault(Nothing, at, format, args...)
}

func (d *decoder) fault(cost Cost, at Position, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, At: at, Text: fmt.Sprintf(format, args...), Cost: cost})
}

// keys says what to do with the value of each valid key.
type keys map[string]func(member)

// named finds a key whatever its case, as encoding/json does, with which
// k8s-rdma-shared-dev-plugin reads its file. No two keys differ in nothing else.
func (k keys) named(name string) (key string, known bool) {
	for key := range k {
		if strings.EqualFold(key, name) {
			return key, true
		}
	}
	return "", false
}

// object reads the members of an object. Unknown and repeated keys are
// mistakes; null is the same as nothing. It returns which keys are there.
func (d *decoder) object(v value, what string, keys keys) map[string]bool {
	seen := map[string]bool{}
	if v.kind != object {
		d.errorf(v.at, "%s must be an object, not %s", what, v.kind)
		return seen
	}
	for _, m := range v.members {
		key, known := keys.named(m.key)
		switch {
		case !known:
			d.errorf(m.at, "unknown key %q in %s: %s", m.key, what, suggestion(m.key, slices.Sorted(maps.Keys(keys))))
			continue
		case m.value.kind == null:
			continue
		case key != m.key:
			d.notef(m.at, "key %q in %s is read as %q", m.key, what, key)
		}
		if m.key = key; seen[key] {
			d.errorf(m.at, "key %q appears twice in %s; keep one", key, what)
		} else {
			keys[key](m)
		}
		seen[key] = true
	}
	return seen
}

func (d *decoder) list(m member, each func(value)) {
	if m.value.kind != list {
		d.errorf(m.value.at, "%q must be a list, not %s", m.key, m.value.kind)
		return
	}
	for _, item := range m.value.items {
		each(item)
	}
}

func (d *decoder) text(v value, what string) (string, bool) {
	if v.kind != text && (!v.yaml || v.kind != number) {
		d.errorf(v.at, "%s must be a string, not %s", what, v.kind)
		return "", false
	}
	if strings.TrimSpace(v.literal) != v.literal || v.literal == "" {
		d.errorf(v.at, "%s is empty or has spaces around it: %q", what, v.literal)
		return "", false
	}
	return v.literal, true
}

// texts reads a list of strings. check returns how to read each, or what is
// wrong with it. A wrong one stays as it is: it matches nothing, nor does it
// with k8s-rdma-shared-dev-plugin, and a list without it would match more.
func (d *decoder) texts(m member, check func(string) (string, error)) []string {
	var all []string
	d.list(m, func(v value) {
		if v.kind == null {
			d.notef(v.at, "an entry of %q is null, and matches nothing", m.key)
			all = append(all, "")
			return
		}
		if v.kind != text && (!v.yaml || v.kind != number) {
			d.errorf(v.at, "an entry of %q must be a string, not %s", m.key, v.kind)
			return
		}
		s, err := v.literal, error(nil)
		if strings.TrimSpace(s) != s || s == "" {
			err = fmt.Errorf("an entry of %q is empty or has spaces around it: %q", m.key, s)
		} else {
			s, err = check(s)
		}
		if err != nil {
			d.fault(d.unmatched, v.at, "%v", err)
			s = v.literal
		}
		all = append(all, s)
	})
	return all
}

// anything is the check of a list that takes anything.
func anything(s string) (string, error) { return s, nil }

func (d *decoder) integer(v value, what string) (int, bool) {
	if v.kind != number {
		d.errorf(v.at, "%s must be a whole number, not %s", what, v.kind)
		return 0, false
	}
	n, err := strconv.Atoi(v.literal)
	if err != nil {
		d.errorf(v.at, "%s must be a whole number, not %s", what, v.literal)
		return 0, false
	}
	return n, true
}

// between reads a whole number from a range.
func (d *decoder) between(m member, low, high int) int {
	n, ok := d.integer(m.value, fmt.Sprintf("%q", m.key))
	if ok && (n < low || n > high) {
		d.errorf(m.value.at, "%q is %d; it must be between %d and %d", m.key, n, low, high)
	}
	return n
}

func (d *decoder) boolean(v value, what string) bool {
	if v.kind != boolean {
		d.errorf(v.at, "%s must be true or false, not %s", what, v.kind)
	}
	return strings.EqualFold(v.literal, "true")
}

// maxInterval is a year, in seconds: more makes no sense, and much more does
// not fit into a time.Duration.
const maxInterval = 365 * 24 * 60 * 60

func (d *decoder) config(v value) *Config {
	c := &Config{PeriodicUpdateInterval: defaultPeriodicUpdateInterval}
	d.cost = Ignored
	seen := d.object(v, "the configuration", keys{
		"periodicUpdateInterval": func(m member) {
			seconds, ok := d.integer(m.value, `"periodicUpdateInterval"`)
			switch {
			case !ok:
			case seconds < 0:
				d.errorf(m.value.at, `"periodicUpdateInterval" is %d seconds; use 0 to turn it off`, seconds)
			case seconds > maxInterval:
				d.errorf(m.value.at, `"periodicUpdateInterval" is %d seconds; use at most %d, a year, or 0 to turn it off`, seconds, maxInterval)
			default:
				c.PeriodicUpdateInterval = time.Duration(seconds) * time.Second
			}
		},
		"configList": func(m member) {
			first := map[string]Position{}
			d.list(m, func(v value) {
				if r, ok := d.resource(v); ok && d.unique(r, first) {
					c.Resources = append(c.Resources, r)
				}
			})
			if m.value.kind == list && len(m.value.items) == 0 {
				d.errorf(m.value.at, `"configList" is empty; it needs at least one resource`)
			}
		},
	})
	if len(d.errs.Mistakes()) == 0 && !seen["configList"] {
		d.errorf(v.at, `"configList" is missing; it is the list of resources`)
	}
	d.errs.sort()
	return c
}

// unique tells whether there is no resource of that name yet. With two, the
// kubelet would see one plugin replace the other for ever.
func (d *decoder) unique(r Resource, first map[string]Position) bool {
	at, taken := first[r.Name]
	if taken {
		d.fault(LeftOut, r.At, "resource %s is already defined on line %d; give one of them another name", r.Name, at.Line)
		return false
	}
	first[r.Name] = r.At
	return true
}
