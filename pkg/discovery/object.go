package discovery

import (
	"encoding/json"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An object is one of JSON or YAML whose fields keep their order.
type object []field

// A field's value is a string, a number, a bool, []string, an object or []object.
type field struct {
	key   string
	value any
}

// json is the object as deployments/examples have it: a field a line, and lists of
// strings on one. Lines after the first begin with indent.
func (o object) json(indent string) string {
	var b strings.Builder
	b.WriteString("{")
	for i, f := range o {
		if i > 0 {
			b.WriteString(",")
		}
		b.WriteString("\n" + indent + "  " + literal(f.key) + ": ")
		switch v := f.value.(type) {
		case object:
			b.WriteString(v.json(indent + "  "))
		case []object:
			b.WriteString("[")
			for i, item := range v {
				if i > 0 {
					b.WriteString(",")
				}
				b.WriteString("\n" + indent + "    " + item.json(indent+"    "))
			}
			b.WriteString("\n" + indent + "  ]")
		case []string:
			b.WriteString(list(v))
		default:
			b.WriteString(literal(v))
		}
	}
	b.WriteString("\n" + indent + "}")
	return b.String()
}

// list is a list of strings on one line, for JSON and for YAML.
func list(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = literal(word)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// literal is a string, a number or a bool.
func literal(v any) string {
	b, err := json.Marshal(v)
	if err != nil { // none of these has one
		return "null"
	}
	return string(b)
}

// yaml is the object in YAML's block style, with lists of strings on one line.
func (o object) yaml() *yaml.Node {
	mapping := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range o {
		value := &yaml.Node{}
		switch v := f.value.(type) {
		case object:
			value = v.yaml()
		case []object:
			value.Kind = yaml.SequenceNode
			for _, item := range v {
				value.Content = append(value.Content, item.yaml())
			}
		case []string:
			value.Kind, value.Style = yaml.SequenceNode, yaml.FlowStyle
			for _, word := range v {
				value.Content = append(value.Content, scalar(word))
			}
		default:
			value = scalar(v)
		}
		mapping.Content = append(mapping.Content, scalar(f.key), value)
	}
	return mapping
}

func scalar(v any) *yaml.Node {
	n := &yaml.Node{}
	_ = n.Encode(v) // neither a string nor a number nor a bool has an error
	return n
}
