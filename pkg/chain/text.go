package chain

import (
	"bytes"
	"encoding/json"
)

// A value is where a JSON value is in a text. Who rewrites the file of another
// program changes what it means to change and no other byte: not the order of keys,
// not the form of a number, not a key that it does not know.
type value struct {
	start, end int // start is that of objects and lists only
	members    map[string]*value
	elements   []*value
}

// parse finds the values in a text.
func parse(text []byte) (*value, error) {
	var any json.RawMessage
	if err := json.Unmarshal(text, &any); err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber() // of any size
	return scan(d)
}

func scan(d *json.Decoder) (*value, error) {
	token, err := d.Token()
	if err != nil {
		return nil, err
	}
	v := &value{end: int(d.InputOffset())}
	delim, ok := token.(json.Delim)
	if !ok {
		return v, nil
	}
	v.start = v.end - 1
	v.members = map[string]*value{}
	for d.More() {
		var name string
		if delim == '{' {
			key, err := d.Token()
			if err != nil {
				return nil, err
			}
			name, _ = key.(string)
		}
		inner, err := scan(d)
		if err != nil {
			return nil, err
		}
		if delim == '{' {
			v.members[name] = inner // of two with one name the last counts, as everywhere
		} else {
			v.elements = append(v.elements, inner)
		}
	}
	if _, err := d.Token(); err != nil { // the closing one
		return nil, err
	}
	v.end = int(d.InputOffset())
	return v, nil
}

// member is an object's, a value of nothing if it has none.
func (v *value) member(name string) *value {
	if m := v.members[name]; m != nil {
		return m
	}
	return &value{}
}

// of is the part of a text that a value is.
func (v *value) of(text []byte) []byte { return text[v.start:v.end] }

// add puts an element at the end of a list that has some objects, laid out as
// they are.
func add(text []byte, list *value, element string) []byte {
	first, last := list.elements[0], list.elements[len(list.elements)-1]
	space := text[list.start+1 : first.start]
	return splice(text, last.end, last.end, ","+string(space)+element)
}

// remove takes an object out of a list that has others: what add put there leaves
// the text as it was.
func remove(text []byte, list *value, i int) []byte {
	if i > 0 {
		return splice(text, list.elements[i-1].end, list.elements[i].end, "")
	}
	return splice(text, list.elements[0].start, list.elements[1].start, "")
}

func splice(text []byte, from, to int, insert string) []byte {
	return bytes.Join([][]byte{text[:from], text[to:]}, []byte(insert))
}
