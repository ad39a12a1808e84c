package dra

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
)

// extras are attributes that the administrator adds to devices, or gives
// another value: where pcieRoot does not say which GPU is near, for one. They
// are in the order of the file, where later ones win.
type extras []extra

type extra struct {
	pattern    string // for the bus address, or a name of the netdev on the host
	attributes map[resourceapi.QualifiedName]resourceapi.DeviceAttribute
}

// readExtras reads the administrator's file:
//
//	{"ens12np0": {"example.com/gpu": 0}, "0000:2?:*": {"fabric": "a"}}
//
// No file adds nothing.
func readExtras(file string) (all extras, text string, err error) {
	if file == "" {
		return nil, "", nil
	}
	content, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", nil
	}
	if err != nil {
		return nil, "", fmt.Errorf("read the attributes: %w", err)
	}
	all, err = parseExtras(content)
	if err != nil {
		return nil, "", fmt.Errorf("%s: %w", file, err)
	}
	return all, string(content), nil
}

func parseExtras(content []byte) (extras, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(content, &document); err != nil {
		return nil, fmt.Errorf("neither JSON nor YAML: %s", strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if len(document.Content) == 0 {
		return nil, nil
	}
	var all extras
	different := map[string]bool{}
	err := members(document.Content[0], "the file", func(device, of *yaml.Node) error {
		if _, err := path.Match(device.Value, ""); err != nil {
			return fmt.Errorf("line %d: %q is not a shell pattern; use *, ? and [a-z]", device.Line, device.Value)
		}
		e := extra{device.Value, map[resourceapi.QualifiedName]resourceapi.DeviceAttribute{}}
		err := members(of, fmt.Sprintf("%q", device.Value), func(name, value *yaml.Node) error {
			attribute, err := parseAttribute(name.Value, value)
			if err != nil {
				return fmt.Errorf("line %d: attribute %q: %w", name.Line, name.Value, err)
			}
			if different[name.Value] = true; len(different) > mostExtras {
				return fmt.Errorf("line %d: attribute %q is number %d; a device has room for %d", name.Line, name.Value, len(different), mostExtras)
			}
			e.attributes[resourceapi.QualifiedName(strings.TrimPrefix(name.Value, DriverName+"/"))] = attribute
			return nil
		})
		all = append(all, e)
		return err
	})
	return all, err
}

// members calls each for the members of an object.
func members(n *yaml.Node, what string, each func(key, value *yaml.Node) error) error {
	if n.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: %s is not an object", n.Line, what)
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if err := each(n.Content[i], n.Content[i+1]); err != nil {
			return err
		}
	}
	return nil
}

// mostExtras is what our own attributes and capacities, of which there are
// ownMost, leave of the API's limit.
const (
	ownMost    = 13
	mostExtras = resourceapi.ResourceSliceMaxAttributesAndCapacitiesPerDevice - ownMost
)

// parseAttribute checks what the API server would refuse, and with it the whole
// slice. Source: validateQualifiedName and validateDeviceAttribute in
// k8s.io/kubernetes/pkg/apis/resource/validation.
func parseAttribute(name string, value *yaml.Node) (a resourceapi.DeviceAttribute, err error) {
	domain, id, qualified := strings.Cut(name, "/")
	if !qualified {
		domain, id = DriverName, name
	}
	if len(validation.IsCIdentifier(id)) > 0 || len(id) > resourceapi.DeviceMaxIDLength ||
		len(validation.IsDNS1123Subdomain(domain)) > 0 || len(domain) > resourceapi.DeviceMaxDomainLength {
		return a, fmt.Errorf("use a name of at most %d letters, digits and underscores, after a domain of your own: example.com/gpu", resourceapi.DeviceMaxIDLength)
	}
	var number int64
	var truth bool
	switch {
	case value.Kind != yaml.ScalarNode:
	case value.Tag == "!!int" && value.Decode(&number) == nil:
		return resourceapi.DeviceAttribute{IntValue: &number}, nil
	case value.Tag == "!!bool" && value.Decode(&truth) == nil:
		return resourceapi.DeviceAttribute{BoolValue: &truth}, nil
	case value.Tag == "!!str" && value.Value != "" && len(value.Value) <= resourceapi.DeviceAttributeMaxValueLength:
		return resourceapi.DeviceAttribute{StringValue: &value.Value}, nil
	}
	return a, fmt.Errorf("use a whole number, true, false or a text of at most %d characters", resourceapi.DeviceAttributeMaxValueLength)
}

// add adds those of a device to its own.
func (all extras) add(d inventory.Device, to map[resourceapi.QualifiedName]resourceapi.DeviceAttribute) {
	names := append(slices.Concat(d.Netdevs, d.AltNames), d.Address)
	for _, e := range all {
		matches := func(name string) bool { ok, _ := path.Match(e.pattern, name); return ok }
		if !slices.ContainsFunc(names, matches) {
			continue
		}
		maps.Copy(to, e.attributes)
	}
}
