package claim

import (
	"fmt"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

// Missing returns the devices of a claim that a sandbox has not: there is no
// record, in this boot, which says that it was attached to the end. It does not
// matter by which network.
func (c Claim) Missing(journal *attachment.Journal, sandbox string) ([]Device, error) {
	records, _, err := journal.OfContainer(sandbox)
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", c, err)
	}
	return slices.DeleteFunc(slices.Clone(c.Devices), func(d Device) bool {
		return slices.ContainsFunc(records, func(r *attachment.Record) bool {
			return journal.Current(r) && r.Step == attachment.Attached && r.NIC.Bus == d.Bus && r.NIC.Address == d.Address
		})
	}), nil
}
