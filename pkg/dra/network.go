package dra

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	resourceapi "k8s.io/api/resource/v1"
	"k8s.io/dynamic-resource-allocation/resourceclaim"
)

// networkOf is the network that class and claim describe for one of the
// devices: the keys of all parameters that are for us and for the device's
// request. Of a key that is there twice the later one holds: the API server
// puts the claim's own after those of its class.
func networkOf(a *resourceapi.AllocationResult, request string, check func(json.RawMessage) error) (json.RawMessage, error) {
	var all map[string]json.RawMessage
	parts := 0
	for _, c := range a.Devices.Config {
		if c.Opaque == nil || c.Opaque.Driver != DriverName || !isFor(c.Requests, request) {
			continue
		}
		var keys map[string]json.RawMessage
		err := json.Unmarshal(c.Opaque.Parameters.Raw, &keys)
		if err == nil {
			err = check(c.Opaque.Parameters.Raw)
		}
		if err != nil {
			return nil, fmt.Errorf("parameters of %s: %w", origin(c), err)
		}
		if parts++; all == nil {
			all = map[string]json.RawMessage{}
		}
		maps.Copy(all, keys)
	}
	if parts == 0 {
		return nil, nil
	}
	network, err := json.Marshal(all)
	if err == nil && parts > 1 {
		err = check(network)
	}
	if err != nil {
		return nil, fmt.Errorf("parameters of class and claim together: %w", err)
	}
	return network, nil
}

// isFor tells whether parameters for some requests are for one of them, which
// may be one of several alternatives, REQUEST/SUBREQUEST.
func isFor(requests []string, request string) bool {
	return len(requests) == 0 || slices.Contains(requests, request) || slices.Contains(requests, resourceclaim.BaseRequestRef(request))
}

// origin says where parameters are, for a message.
func origin(c resourceapi.DeviceAllocationConfiguration) string {
	where := "the claim"
	if c.Source == resourceapi.AllocationConfigSourceClass {
		where = "the DeviceClass"
	}
	if len(c.Requests) > 0 {
		where += " for " + strings.Join(c.Requests, ", ")
	}
	return where
}
