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
}

func (d *decoder) errorf(at Position, format string, args ...any) {
	d.errs = append(d.errs, &Error{File: d.file, At: at, Text: fmt.Sprintf(format, args...)})
}

// keys says what to do with the value of each valid key.
type keys map[string]func(member)

// object reads the members of an object. Unknown and repeated keys are errors.
// It returns which keys are there.
func (d *decoder) object(v value, what string, keys keys) map[string]bool {
	seen := map[string]bool{}
	if v.kind != object {
		d.errorf(v.at, "%s must be an object, not %s", what, v.kind)
		return seen
	}
	for _, m := range v.members {
		read, known := keys[m.key]
		switch {
		case !known:
			d.errorf(m.at, "unknown key %q in %s: %s", m.key, what, suggestion(m.key, slices.Sorted(maps.Keys(keys))))
		case seen[m.key]:
			d.errorf(m.at, "key %q is there twice in %s; keep one", m.key, what)
		default:
			read(m)
		}
		seen[m.key] = true
	}
	return seen
}

func (d *decoder) list(m member, each func(value)) {
	if m.value.kind == null {
		return // as encoding/json has it: null is no list, that is, an empty one
	}
	if m.value.kind != list {
		d.errorf(m.value.at, "%q must be a list, not %s", m.key, m.value.kind)
		return
	}
	for _, item := range m.value.items {
		each(item)
	}
}

func (d *decoder) text(v value, what string) (string, bool) {
	if v.kind != text && (!v.bare || v.kind != number) {
		d.errorf(v.at, "%s must be a string, not %s", what, v.kind)
		return "", false
	}
	if strings.TrimSpace(v.literal) != v.literal || v.literal == "" {
		d.errorf(v.at, "%s is empty or has spaces around it: %q", what, v.literal)
		return "", false
	}
	return v.literal, true
}

func (d *decoder) texts(m member) []string {
	var all []string
	d.list(m, func(v value) {
		if s, ok := d.text(v, fmt.Sprintf("an entry of %q", m.key)); ok {
			all = append(all, s)
		}
	})
	return all
}

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

func (d *decoder) config(v value) *Config {
	c := &Config{PeriodicUpdateInterval: defaultPeriodicUpdateInterval}
	seen := d.object(v, "the configuration", keys{
		"periodicUpdateInterval": func(m member) {
			seconds, ok := d.integer(m.value, `"periodicUpdateInterval"`)
			if ok && seconds < 0 {
				d.errorf(m.value.at, `"periodicUpdateInterval" is %d seconds; use 0 to turn it off`, seconds)
			}
			c.PeriodicUpdateInterval = time.Duration(seconds) * time.Second
		},
		"configList": func(m member) {
			d.list(m, func(v value) { c.Resources = append(c.Resources, d.resource(v)) })
			if len(c.Resources) == 0 {
				d.errorf(m.value.at, `"configList" is empty; it needs at least one resource`)
			}
		},
	})
	if len(d.errs) == 0 && !seen["configList"] {
		d.errorf(v.at, `"configList" is missing; it is the list of resources`)
	}
	d.unique(c.Resources)
	d.errs.sort()
	return c
}

// unique reports resources of one name. The kubelet would see one plugin
// replace the other for ever.
func (d *decoder) unique(resources []Resource) {
	first := map[string]Position{}
	for _, r := range resources {
		at, taken := first[r.Name]
		switch {
		case r.Name == "":
		case taken:
			d.errorf(r.At, "resource %s is there already, on line %d; give one of them another name", r.Name, at.Line)
		default:
			first[r.Name] = r.At
		}
	}
}
