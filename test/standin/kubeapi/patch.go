package kubeapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// operation is one step of a JSON patch (RFC 6902).
type operation struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// jsonPatch applies a patch to content, or part of it and an error. It has what Whereabouts sends: test, add,
// replace and remove of members of objects; not copy or move, and no elements of arrays.
func jsonPatch(content map[string]any, patch []byte) error {
	var operations []operation
	if err := json.Unmarshal(patch, &operations); err != nil {
		return fmt.Errorf("not a JSON patch: %w", err)
	}
	for _, o := range operations {
		if err := o.apply(content); err != nil {
			return fmt.Errorf("%s %s: %w", o.Op, o.Path, err)
		}
	}
	return nil
}

func (o operation) apply(content map[string]any) error {
	steps := strings.Split(o.Path, "/")
	if len(steps) < 2 || steps[0] != "" {
		return errors.New("not the path of a member")
	}
	unescape := strings.NewReplacer("~1", "/", "~0", "~")
	parent := content
	for _, step := range steps[1 : len(steps)-1] {
		child, ok := parent[unescape.Replace(step)].(map[string]any)
		if !ok {
			return fmt.Errorf("%s is not an object", step)
		}
		parent = child
	}
	name := unescape.Replace(steps[len(steps)-1])
	was, there := parent[name]
	value, err := decodeValue(o.Value)
	if err != nil {
		return err
	}
	switch o.Op {
	case "test":
		// A member that is not there passes for null, as with the real one: Whereabouts says "not yet taken" so.
		if !reflect.DeepEqual(was, value) {
			return errors.New("test failed")
		}
	case "add":
		parent[name] = value
	case "replace":
		if !there {
			return errors.New("not there")
		}
		parent[name] = value
	case "remove":
		if !there {
			return errors.New("not there")
		}
		delete(parent, name)
	default:
		return errors.New("the stand-in does not know this operation")
	}
	return nil
}

// mergePatch applies a merge patch (RFC 7396) to content.
func mergePatch(content map[string]any, patch []byte) error {
	changes, err := decode(patch)
	if err != nil {
		return err
	}
	merge(content, changes)
	return nil
}

func merge(content, changes map[string]any) {
	for name, value := range changes {
		switch value := value.(type) {
		case nil:
			delete(content, name)
		case map[string]any:
			child, ok := content[name].(map[string]any)
			if !ok {
				child = map[string]any{}
				content[name] = child
			}
			merge(child, value)
		default:
			content[name] = value
		}
	}
}

// decodeValue reads any JSON value, with numbers as in decode so that equal ones compare equal.
func decodeValue(raw json.RawMessage) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	wrapped, err := decode([]byte(`{"v":` + string(raw) + `}`))
	if err != nil {
		return nil, err
	}
	return wrapped["v"], nil
}
