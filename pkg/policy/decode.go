package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/roce-k8s/roce-k8s/pkg/suggest"
)

// A Mistake is one thing that is wrong with a policy file.
type Mistake struct {
	File         string
	Line, Column int    // both count from 1, columns in characters
	Text         string // what is wrong and what to do about it, on one line
}

func (m *Mistake) Error() string {
	return fmt.Sprintf("%s:%d:%d: %s", m.File, m.Line, m.Column, m.Text)
}

// Mistakes are all that is wrong with a policy file, in the order of the file.
type Mistakes []*Mistake

// Error is one line: the first mistake, and how many more there are.
func (m Mistakes) Error() string {
	if len(m) == 1 {
		return m[0].Error()
	}
	return fmt.Sprintf(`%v (and %d more; "roce-host-device validate" lists them)`, m[0], len(m)-1)
}

// Unwrap returns all mistakes.
func (m Mistakes) Unwrap() []error {
	all := make([]error, len(m))
	for i, mistake := range m {
		all[i] = mistake
	}
	return all
}

// most is how many mistakes are looked for: a file with more is the wrong one.
const most = 100

// A decoder reads the file and collects what is wrong with it.
type decoder struct {
	file     string
	data     []byte
	mistakes Mistakes
}

// A value is a piece of the file: its text, without space around it, and where
// that begins.
type value struct {
	text json.RawMessage
	at   int
}

// kind is what a value is, in the words of a message.
func (v value) kind() string {
	switch v.text[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

// A member is a key of an object, or, without a key, an entry of a list.
type member struct {
	key   string
	keyAt int
	value
}

func (m member) String() string { return strconv.Quote(m.key) }

// members splits an object or a list. The file is known to be JSON, so nothing
// can go wrong on the way.
func (v value) members() []member {
	var all []member
	tokens := json.NewDecoder(bytes.NewReader(v.text))
	_, _ = tokens.Token()
	for tokens.More() {
		var m member
		if v.text[0] == '{' {
			begin := int(tokens.InputOffset())
			key, err := tokens.Token()
			if err != nil {
				return all
			}
			m.key = fmt.Sprint(key)
			m.keyAt = v.at + begin + bytes.IndexByte(v.text[begin:], '"')
		}
		if err := tokens.Decode(&m.text); err != nil {
			return all
		}
		m.at = v.at + int(tokens.InputOffset()) - len(m.text)
		all = append(all, m)
	}
	return all
}

func (d *decoder) mistake(at int, format string, args ...any) {
	if len(d.mistakes) == most {
		return
	}
	before := d.data[:min(max(at, 0), len(d.data))]
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	d.mistakes = append(d.mistakes, &Mistake{d.file, line, column, fmt.Sprintf(format, args...)})
}

// policy reads the whole file. What is wrong keeps its default.
func (d *decoder) policy() *Policy {
	p := Default()
	if len(bytes.TrimSpace(d.data)) == 0 {
		d.mistake(0, "the file is empty; write {} for the defaults")
		return p
	}
	var text json.RawMessage
	if err := json.Unmarshal(d.data, &text); err != nil {
		at := len(bytes.TrimRight(d.data, " \t\r\n"))
		if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) && int(syntax.Offset) <= at {
			at = int(syntax.Offset) - 1
		}
		d.mistake(at, "malformed JSON here or just before: %v", err)
		return p
	}
	var namespaces []member // read last: they narrow what the rest says
	keys := d.rules(&p.rules, rules{})
	keys["stateDir"] = func(m member) { d.folder(m, &p.StateDir) }
	keys["deviceInfoDir"] = func(m member) { d.folder(m, &p.DeviceInfoDir) }
	keys["namespaces"] = func(m member) { namespaces = append(namespaces, m) }
	d.object(value{text, bytes.IndexByte(d.data, text[0])}, "the policy", keys)
	for _, m := range namespaces {
		p.namespaces = d.namespaces(m, p.rules)
	}
	slices.SortStableFunc(d.mistakes, func(a, b *Mistake) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return p
}

// keys says what to do with the value of each valid key.
type keys map[string]func(member)

// object reads the members of an object. Unknown and repeated keys are
// mistakes.
func (d *decoder) object(v value, what string, keys keys) {
	if v.text[0] != '{' {
		d.mistake(v.at, "%s must be an object, not %s", what, v.kind())
		return
	}
	seen := map[string]bool{}
	for _, m := range v.members() {
		read, known := keys[m.key]
		switch {
		case !known:
			d.mistake(m.keyAt, "unknown key %s in %s: %s", quote(m.key), what, instead(m.key, slices.Sorted(maps.Keys(keys))))
		case seen[m.key]:
			d.mistake(m.keyAt, "key %s appears twice in %s; keep one", m, what)
		default:
			read(m)
		}
		seen[m.key] = true
	}
}

// instead is the end of a message about a word that is not a valid one.
func instead(word string, valid []string) string {
	if nearest, ok := suggest.Nearest(word, valid); ok {
		return fmt.Sprintf("did you mean %q?", nearest)
	}
	return "use one of " + strings.Join(valid, ", ")
}

// rules says how to read what one level of the file allows. A namespace cannot
// allow what the whole file does not: it would have no effect, and somebody
// would believe that it had.
func (d *decoder) rules(r *rules, whole rules) keys {
	return keys{
		"nics":       func(m member) { r.nics = d.nics(m) },
		"virtual":    func(m member) { d.permission(m, &r.noVirtual, whole.noVirtual) },
		"force":      func(m member) { d.permission(m, &r.noForce, whole.noForce) },
		"ipam":       func(m member) { r.ipam = d.texts(m, d.pluginType) },
		"sysctls":    func(m member) { r.sysctls = d.texts(m, d.sysctl) },
		"tables":     func(m member) { d.bounds(m, &r.tables, 1, maxTable, whole.tables) },
		"priorities": func(m member) { d.bounds(m, &r.priorities, 1, maxPriority, whole.priorities) },
		"mtu":        func(m member) { d.bounds(m, &r.mtu, minMTU, maxMTU, whole.mtu) },
	}
}

func (d *decoder) namespaces(m member, whole rules) []namespace {
	keys, all := keys{}, []namespace{}
	if m.text[0] == '{' {
		for _, entry := range m.members() {
			keys[entry.key] = func(m member) {
				if !d.namespace(m) {
					return
				}
				n := namespace{pattern: m.key, rules: rules{of: fmt.Sprintf(" of namespace %q", m.key)}}
				d.object(m.value, fmt.Sprintf("namespace %q", m.key), d.rules(&n.rules, whole))
				all = append(all, n)
			}
		}
	}
	d.object(m.value, m.String(), keys)
	return all
}

// namespace checks the name of a Kubernetes namespace, or a pattern for some.
func (d *decoder) namespace(m member) bool {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-"
	_, err := path.Match(m.key, "")
	if err != nil || m.key == "" || strings.Trim(m.key, letters+"*?[]^") != "" {
		d.mistake(m.keyAt, `%s is neither a Kubernetes namespace nor a pattern such as "team-*"; use lower case letters, digits, "-", and *, ?, [a-z]`, quote(m.key))
		return false
	}
	return true
}

// nics reads a list of criteria. What has a mistake in it is kept, so that a
// list never becomes "all".
func (d *decoder) nics(m member) []criteria {
	all := []criteria{}
	for _, entry := range d.list(m) {
		var c criteria
		before := len(d.mistakes)
		d.object(entry.value, `an entry of "nics"`, keys{
			"names":        func(m member) { c.names = d.some(m, d.pattern) },
			"pciAddresses": func(m member) { c.pciAddresses = d.some(m, d.address) },
			"drivers":      func(m member) { c.drivers = d.some(m, d.word) },
		})
		if len(d.mistakes) == before && c.names == nil && c.pciAddresses == nil && c.drivers == nil {
			d.mistake(entry.at, `an entry of "nics" is empty; write {"names": ["*"]} for every NIC, or "nics": [] for none`)
		}
		all = append(all, c)
	}
	return all
}

// list returns the entries of a list.
func (d *decoder) list(m member) []member {
	if m.text[0] != '[' {
		d.mistake(m.at, "%s must be a list, not %s; leave it out to allow all, write [] to allow none", m, m.kind())
		return nil
	}
	return m.members()
}

// some reads a list of texts that must not be empty.
func (d *decoder) some(m member, check func(string) (string, string)) []string {
	if texts := d.texts(m, check); len(texts) > 0 || m.text[0] != '[' || len(m.members()) > 0 {
		return texts
	}
	d.mistake(m.at, `%s is empty; leave it out, or write "nics": [] to allow none`, m)
	return nil
}

// texts reads a list of strings. check returns the string as it is kept, or
// what to do about it.
func (d *decoder) texts(m member, check func(string) (s, advice string)) []string {
	all := []string{}
	for _, entry := range d.list(m) {
		var s string
		if entry.text[0] != '"' || json.Unmarshal(entry.text, &s) != nil {
			d.mistake(entry.at, "an entry of %s must be a string, not %s", m, entry.kind())
			continue
		}
		kept, advice := check(s)
		if advice != "" {
			d.mistake(entry.at, "%s has %s; %s", m, quote(s), advice)
			continue
		}
		all = append(all, kept)
	}
	return all
}

func (d *decoder) word(s string) (kept, advice string) {
	if s == "" || strings.ContainsAny(s, "/ \t\r\n\x00") {
		return "", "use a name, without spaces and slashes"
	}
	return s, ""
}

func (d *decoder) pluginType(s string) (kept, advice string) {
	if s == "" {
		return "", "" // a network without an IPAM plugin
	}
	return d.word(s)
}

// pattern reads a shell pattern as path.Match has them.
func (d *decoder) pattern(s string) (kept, advice string) {
	if _, err := path.Match(s, ""); err != nil {
		return "", "which is not a shell pattern; use *, ? and [a-z]"
	}
	return d.word(s)
}

// address reads a pattern for PCI addresses, also in the short form of lspci,
// and for the names of auxiliary devices.
func (d *decoder) address(s string) (kept, advice string) {
	s, advice = d.pattern(strings.ToLower(s))
	if strings.Count(s, ":") == 1 {
		s = "0000:" + s
	}
	return s, advice
}

// sysctl reads a pattern for an interface's own sysctls. One that could match
// none of them is a mistake, such as one with an interface's name.
func (d *decoder) sysctl(s string) (kept, advice string) {
	const parts, interfacePart = 5, 3 // net.ipv4.conf.<interface>.<name>
	split := strings.Split(sysctlPath(s), "/")
	_, err := path.Match(sysctlPath(s), "")
	if err != nil || len(split) != parts || slices.Contains(split, "") {
		return "", `use a pattern of five parts, such as "net.ipv4.conf.IFNAME.arp_*"; each * stands for one part or less`
	}
	family, _ := path.Match(split[0], "net")
	itself, _ := path.Match(split[interfacePart], "IFNAME")
	if !family || !itself {
		return "", `which no network can set; write IFNAME for the interface, as in "net.ipv4.conf.IFNAME.arp_*"`
	}
	return s, ""
}

func (d *decoder) folder(m member, to *string) {
	var s string
	switch {
	case m.text[0] != '"' || json.Unmarshal(m.text, &s) != nil:
		d.mistake(m.at, "%s must be a string, not %s", m, m.kind())
	case !filepath.IsAbs(s) || s != filepath.Clean(s) || s == "/" || strings.Contains(s, "\x00"):
		d.mistake(m.at, `%s is %s; use an absolute path without "..", double slashes or a trailing slash`, m, quote(s))
	default:
		*to = s
	}
}

// permission reads what is allowed unless the file says false.
func (d *decoder) permission(m member, denied *bool, deniedToAll bool) {
	var allowed bool
	switch {
	case json.Unmarshal(m.text, &allowed) != nil || m.text[0] == 'n':
		d.mistake(m.at, "%s must be true or false, not %s", m, m.kind())
	case allowed && deniedToAll:
		d.mistake(m.at, `%s is true here and false for all; a namespace can only narrow: set it to false for namespace "*" instead of for all`, m)
	}
	*denied = !allowed
}

// bounds reads {"min": N, "max": N} into b, which has the defaults.
func (d *decoder) bounds(m member, b *bounds, low, high int, whole bounds) {
	read := bounds{min: low, max: high}
	if whole.set() {
		read = bounds{min: whole.min, max: whole.max}
	} else if b.set() {
		read = bounds{min: b.min, max: b.max}
	}
	before := len(d.mistakes)
	number := func(to *int) func(member) {
		return func(n member) {
			value, err := strconv.Atoi(string(n.text))
			switch {
			case n.kind() != "a number":
				d.mistake(n.at, "%s of %s must be a whole number, not %s", n, m, n.kind())
			case err != nil:
				d.mistake(n.at, "%s of %s must be a whole number, not %s", n, m, quote(string(n.text)))
			case value < low || value > high:
				d.mistake(n.at, "%s of %s is %d; it must be between %d and %d", n, m, value, low, high)
			default:
				*to = value
			}
		}
	}
	d.object(m.value, m.String(), keys{"min": number(&read.min), "max": number(&read.max)})
	switch {
	case len(d.mistakes) > before:
		return
	case read.min > read.max:
		d.mistake(m.at, "%s goes from %d to %d, which is empty; set \"min\" and \"max\"", m, read.min, read.max)
	case !read.within(whole):
		d.mistake(m.at, "%s is %s here and %s for all; a namespace can only narrow", m, read, whole)
	}
	*b = read
}
