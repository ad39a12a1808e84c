package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// kind is what a value of the file is, in the words of a message.
type kind string

const (
	object  kind = "an object"
	list    kind = "a list"
	text    kind = "a string"
	number  kind = "a number"
	boolean kind = "true or false"
	null    kind = "null"
)

// A value is a piece of the file that remembers where it stands.
type value struct {
	kind    kind
	at      Position
	literal string // scalars, as written (strings without quotes and escapes)
	yaml    bool   // a scalar in YAML, where 1017 may be meant as a string
	members []member
	items   []value
}

// A member is a key of an object.
type member struct {
	key   string
	at    Position
	value value
}

const emptyFile = `the file is empty; it needs an object with "configList"`

// parseDocument reads JSON, which begins with a brace or a bracket, or YAML.
// JSON has a reader of its own because YAML's says less about what is wrong
// with it, and accepts much that other readers of the same file would not.
func parseDocument(data []byte) (value, *Error) {
	trimmed := bytes.TrimSpace(data)
	switch {
	case len(trimmed) == 0:
		return value{}, &Error{At: Position{1, 1}, Text: emptyFile}
	case trimmed[0] == '{' || trimmed[0] == '[':
		return parseJSON(data)
	}
	return parseYAML(data)
}

func parseJSON(data []byte) (value, *Error) {
	var raw json.RawMessage
	var syntax *json.SyntaxError
	err := json.Unmarshal(data, &raw)
	r := &jsonReader{data: data, tokens: json.NewDecoder(bytes.NewReader(data))}
	r.tokens.UseNumber()
	if errors.As(err, &syntax) {
		return value{}, r.explain(syntax)
	}
	if err != nil {
		return value{}, &Error{At: Position{1, 1}, Text: err.Error()}
	}
	v, err := r.value()
	if err != nil {
		return value{}, &Error{At: r.position(r.tokens.InputOffset()), Text: err.Error()}
	}
	return v, nil
}

// A jsonReader turns tokens into values.
type jsonReader struct {
	data   []byte
	tokens *json.Decoder
	open   []bracket // those around the current token
}

type bracket struct {
	char json.Delim
	at   Position
}

// next returns a token and where it begins.
func (r *jsonReader) next() (json.Token, Position, error) {
	begin := r.tokens.InputOffset()
	for int(begin) < len(r.data) && strings.IndexByte(" \t\r\n,:", r.data[begin]) >= 0 {
		begin++
	}
	at := r.position(begin)
	token, err := r.tokens.Token()
	if d, ok := token.(json.Delim); ok {
		if d == '{' || d == '[' {
			r.open = append(r.open, bracket{d, at})
		} else {
			r.open = r.open[:len(r.open)-1]
		}
	}
	return token, at, err
}

func (r *jsonReader) value() (value, error) {
	token, at, err := r.next()
	if err != nil {
		return value{}, err
	}
	switch t := token.(type) {
	case string:
		return value{kind: text, at: at, literal: t}, nil
	case json.Number:
		return value{kind: number, at: at, literal: t.String()}, nil
	case bool:
		return value{kind: boolean, at: at, literal: strconv.FormatBool(t)}, nil
	case json.Delim:
		if t == '{' {
			return r.object(at)
		}
		return r.list(at)
	}
	return value{kind: null, at: at}, nil
}

func (r *jsonReader) object(at Position) (value, error) {
	v := value{kind: object, at: at}
	for r.tokens.More() {
		key, keyAt, err := r.next()
		if err != nil {
			return value{}, err
		}
		member := member{key: fmt.Sprint(key), at: keyAt}
		if member.value, err = r.value(); err != nil {
			return value{}, err
		}
		v.members = append(v.members, member)
	}
	_, _, err := r.next()
	return v, err
}

func (r *jsonReader) list(at Position) (value, error) {
	v := value{kind: list, at: at}
	for r.tokens.More() {
		item, err := r.value()
		if err != nil {
			return value{}, err
		}
		v.items = append(v.items, item)
	}
	_, _, err := r.next()
	return v, err
}

// explain makes a message of a syntax error. A file that ends too early has
// its real mistake at the bracket that nothing closes.
func (r *jsonReader) explain(syntax *json.SyntaxError) *Error {
	end := len(bytes.TrimRight(r.data, " \t\r\n"))
	if int(syntax.Offset) < end || !strings.Contains(syntax.Error(), "unexpected end") {
		return &Error{At: r.position(syntax.Offset - 1), Text: "malformed JSON: " + syntax.Error()}
	}
	for {
		if _, _, err := r.next(); err != nil {
			break
		}
	}
	e := &Error{At: r.position(int64(end)), Text: "malformed JSON: the file ends inside a string"}
	if n := len(r.open); n > 0 {
		missing := map[json.Delim]string{'{': "}", '[': "]"}[r.open[n-1].char]
		e.Text = fmt.Sprintf("malformed JSON: the file ends before the %q that closes line %d, column %d; add it",
			missing, r.open[n-1].at.Line, r.open[n-1].at.Column)
	}
	return e
}

func (r *jsonReader) position(offset int64) Position {
	before := r.data[:min(max(offset, 0), int64(len(r.data)))]
	line := bytes.Count(before, []byte("\n")) + 1
	return Position{line, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1}
}

func parseYAML(data []byte) (value, *Error) {
	var document yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&document); errors.Is(err, io.EOF) {
		return value{}, &Error{At: Position{1, 1}, Text: emptyFile}
	} else if err != nil {
		return value{}, yamlError(err)
	}
	var second yaml.Node
	if err := decoder.Decode(&second); err == nil {
		return value{}, &Error{At: Position{second.Line, second.Column}, Text: "a second YAML document; the configuration must be a single one"}
	} else if !errors.Is(err, io.EOF) {
		return value{}, yamlError(err)
	}
	return fromYAML(document.Content[0])
}

func fromYAML(n *yaml.Node) (value, *Error) {
	v := value{at: Position{n.Line, n.Column}, literal: n.Value}
	switch n.Kind {
	case yaml.MappingNode:
		v.kind = object
		for i := 0; i+1 < len(n.Content); i += 2 {
			member := member{key: n.Content[i].Value, at: Position{n.Content[i].Line, n.Content[i].Column}}
			var err *Error
			if member.value, err = fromYAML(n.Content[i+1]); err != nil {
				return value{}, err
			}
			v.members = append(v.members, member)
		}
	case yaml.SequenceNode:
		v.kind = list
		for _, item := range n.Content {
			v2, err := fromYAML(item)
			if err != nil {
				return value{}, err
			}
			v.items = append(v.items, v2)
		}
	case yaml.ScalarNode:
		v.kind, v.yaml = scalarKind(n), true // what is in quotes is a string to YAML
	default:
		return value{}, &Error{At: v.at, Text: "YAML anchors and aliases are not supported; write the value out"}
	}
	return v, nil
}

func scalarKind(n *yaml.Node) kind {
	switch n.ShortTag() {
	case "!!int", "!!float":
		return number
	case "!!bool":
		return boolean
	case "!!null":
		return null
	}
	return text
}

// yamlError takes the line out of an error such as
// "yaml: line 3: did not find expected key"; the library has no field for it.
func yamlError(err error) *Error {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := Position{1, 1}
	if rest, ok := strings.CutPrefix(message, "line "); ok {
		if n, what, ok := strings.Cut(rest, ": "); ok {
			if line, err := strconv.Atoi(n); err == nil {
				at.Line, message = line, what
			}
		}
	}
	return &Error{At: at, Text: "malformed YAML: " + message}
}
