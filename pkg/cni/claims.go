package cni

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	"github.com/containernetworking/cni/pkg/utils"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// stateDir is the node's state folder. Of a policy that cannot be used the folder
// counts; one that cannot be read now may name another.
func (p *Plugin) stateDir() (string, error) {
	rules, err := policy.Load(p.PolicyFile)
	if trusted.Transient(err) {
		return "", fail(types.ErrTryAgainLater, "", "", err, "try again")
	}
	return rules.StateDir, nil
}

// claimsOf are the claims of the pod that a command is about, nil for none, as for
// nearly all pods of a node. So it asks for little: neither locks nor the kernel.
func (p *Plugin) claimsOf(args *skel.CmdArgs) ([]claim.Claim, error) {
	stateDir, err := p.stateDir()
	if err != nil {
		return nil, err
	}
	return claimsBelow(stateDir, args)
}

// claimsBelow is claimsOf for who knows the state folder.
func claimsBelow(stateDir string, args *skel.CmdArgs) ([]claim.Claim, error) {
	pod := podOf(args.Args)
	claims, err := claim.OfPod(stateDir, pod.UID)
	if err == nil && pod.UID == "" {
		err = refuseNameless(stateDir, args, pod.Namespace, pod.Name)
	}
	if err != nil {
		return nil, fail(codeJournal, "", "read what is allotted to the pod", err, "only root on the node can write that; look at the file or the folder")
	}
	return claims, nil
}

// refuseNameless refuses a pod of which the runtime does not say the UID, if there
// are claims of a pod of its name.
func refuseNameless(stateDir string, args *skel.CmdArgs, namespace, name string) error {
	claims, _, err := claim.List(stateDir)
	for _, c := range claims {
		if c.Pod.Name == name && c.Pod.Namespace == namespace {
			return fmt.Errorf("claim %s is for pod %s, but the runtime does not say K8S_POD_UID in CNI_ARGS: %q", c, c.Pod, args.Args)
		}
	}
	return err
}

// passOn prints what the plugins before this one made, byte for byte.
func (c *netConf) passOn() error {
	var given struct {
		PrevResult json.RawMessage `json:"prevResult"`
	}
	err := json.Unmarshal(c.raw, &given)
	if err == nil {
		_, err = os.Stdout.Write(given.PrevResult)
	}
	if err != nil {
		return fail(types.ErrIOFailure, "", "pass on prevResult", err, "the runtime must read the standard output of its plugins")
	}
	return nil
}

// validateClaims refuses what a network of claims cannot say: it is the cluster's
// own, and what a NIC gets is for the claim.
func (c *netConf) validateClaims(given map[string]json.RawMessage) error {
	frame := append(keysOf(reflect.TypeFor[types.PluginConf]()), "claims", "runtimeConfig")
	for _, key := range keysOf(reflect.TypeFor[netConf]()) {
		if _, set := given[key]; set && (!slices.Contains(frame, key) || key == "ipam" || key == "dns") {
			return invalid(`"claims" is set, and so is %q`, "take it out: a claim says what its NICs get", key)
		}
	}
	if c.addressIsDue() {
		return invalid(`"cniVersion" is %q, whose results have one interface, but "claims" is set`, `use "cniVersion": "0.3.1" or later`, cmp.Or(c.CNIVersion, oldestVersion))
	}
	return nil
}

// claimed are the operations on the NICs of the pod's claims, in the order of
// rails and then of their addresses. Of several functions on one rail the second is
// called rail1-2, the third rail1-3.
func (o *operation) claimed() (nics []*operation, err error) {
	type allotted struct {
		claim.Device
		by claim.Claim
	}
	var all []allotted
	for _, c := range o.claims {
		for _, d := range c.Devices {
			all = append(all, allotted{d, c})
		}
	}
	slices.SortFunc(all, func(a, b allotted) int {
		return cmp.Or(cmp.Compare(a.Rail, b.Rail), rdma.ComparePCI(a.Address, b.Address))
	})
	names, tables := map[string]bool{}, map[int]bool{}
	for _, d := range all {
		c, ifName, err := o.config.forDevice(d.Device)
		for n, first := 2, ifName; names[ifName]; n++ {
			ifName = fmt.Sprintf("%s-%d", first, n)
		}
		if err == nil {
			err = checkClaimedName(ifName)
		}
		if err == nil && tables[c.SourceRouting.Table] {
			err = invalid(`"sourceRouting" has table %d, and so has another NIC's`, "leave it out: each gets a table of its own", c.SourceRouting.Table)
		}
		if err != nil {
			var e *types.Error
			if errors.As(err, &e) {
				e.Msg = fmt.Sprintf("claim %s, device %s: %s", d.by, d.Name, e.Msg)
			}
			return nil, err
		}
		names[ifName], tables[c.SourceRouting.Table] = true, c.SourceRouting.Table != 0
		nic := o.forNIC(ifName, c)
		nic.claimUID = d.by.UID
		nics = append(nics, nic)
	}
	return nics, nil
}

// defaultPrefix and the number of the rail, from 1, make the name of a claimed NIC
// in the pod. It is not "net": Multus counts net1, net2 for its own networks.
const defaultPrefix = "rail"

// forDevice is the network of a claimed NIC, and its name in the pod: the keys
// that the claim has for it, in the frame of the cluster's network.
func (c *netConf) forDevice(d claim.Device) (one *netConf, ifName string, err error) {
	keys := map[string]json.RawMessage{}
	if len(d.Network) > 0 {
		err := json.Unmarshal(d.Network, &keys)
		if err == nil && keys == nil {
			err = errors.New("they are null, and no object")
		}
		if err != nil {
			return nil, "", invalid("%v", "correct the parameters of the claim or its DeviceClass", err)
		}
	}
	for _, key := range []string{"name", "type", "cniVersion", "prevResult", "runtimeConfig", "capabilities",
		"device", "devices", "hwaddr", "kernelpath", "pciBusID", "deviceID", "claims"} {
		if _, set := keys[key]; set {
			return nil, "", invalid("%q is set", "take it out: the NIC and the network are given", key)
		}
	}
	prefix := defaultPrefix
	if given, set := keys["ifName"]; set {
		if err := json.Unmarshal(given, &prefix); err != nil || prefix == "" {
			return nil, "", invalid(`"ifName" is %s`, `use what the name begins with, such as "rail"`, given)
		}
		delete(keys, "ifName")
	}
	for key, value := range map[string]string{"cniVersion": c.CNIVersion, "name": c.Name, "type": c.Type, "deviceID": d.Address} {
		if keys[key], err = json.Marshal(value); err != nil {
			return nil, "", invalid("%v", "report this", err)
		}
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		return nil, "", invalid("%v", "correct the parameters of the claim or its DeviceClass", err)
	}
	one, err = parseConfig(raw)
	return one, fmt.Sprintf("%s%d", prefix, d.Rail+1), err
}

// CheckNetwork tells what is wrong with the keys that a claim has for its NICs, as
// an ADD would.
func CheckNetwork(keys json.RawMessage) error {
	frame := &netConf{PluginConf: types.PluginConf{CNIVersion: "1.1.0", Name: "claims", Type: "roce-host-device"}}
	_, ifName, err := frame.forDevice(claim.Device{Address: "0000:00:00.0", Network: keys})
	if err == nil {
		err = checkClaimedName(ifName)
	}
	return err
}

// checkClaimedName refuses what cannot be the name of an interface in a pod.
func checkClaimedName(name string) error {
	if len(name) > longestIfName {
		return invalid("%s would be its name in the pod, which is longer than the %d characters that the kernel takes", `use a shorter "ifName"`, name, longestIfName)
	}
	if err := utils.ValidateInterfaceName(name); err != nil {
		return invalid("%s cannot be its name in the pod: %s", `use another "ifName"`, name, err.Msg)
	}
	return checkIfName(name)
}

// takesOver tells whether a network may have the NIC of a record, which the same
// pod has by a claim: pods that name their networks keep to them when what
// allots the NICs changes.
func (o *operation) takesOver(r *attachment.Record) bool {
	return o.claimUID == "" && r.Claim != "" && r.ContainerID == o.args.ContainerID && r.Pod.UID != "" && r.Pod.UID == o.pod.UID
}

// wasTakenOver tells whether a network of the pod has the claimed NIC.
func (o *operation) wasTakenOver() (bool, error) {
	records, _, err := o.journal.OfContainer(o.args.ContainerID)
	if err != nil {
		return false, fail(codeJournal, "", "", err, "try again")
	}
	return slices.ContainsFunc(records, func(r *attachment.Record) bool {
		return r.NIC.Address == o.config.DeviceID && o.journal.Current(r) && r.Step == attachment.Attached
	}), nil
}

// hasNothing tells whether a DEL has nothing to do: the pod has no claims, and its
// container no records.
func (p *Plugin) hasNothing(stateDir string, args *skel.CmdArgs, claims []claim.Claim) (bool, error) {
	if len(claims) > 0 {
		return false, nil
	}
	journal, err := attachment.Open(stateDir, p.Proc)
	if err != nil {
		return false, fail(codeJournal, "", "open the journal", err, `"stateDir" in `+policy.File+" names the folder")
	}
	records, bad, err := journal.OfContainer(args.ContainerID)
	if err != nil {
		return false, fail(codeJournal, "", "", err, "try again")
	}
	return len(records)+len(bad) == 0, nil
}

// statusClaims tells whether an ADD of the cluster's network could succeed: no
// more than a pod without claims needs, because the whole node is not ready
// otherwise.
func (p *Plugin) statusClaims() error {
	rules, _ := policy.Load(p.PolicyFile)
	if _, _, err := claim.List(rules.StateDir); err != nil {
		return fail(codeNotAvailable, "", "", err, "only root on the node can write that")
	}
	return nil
}
