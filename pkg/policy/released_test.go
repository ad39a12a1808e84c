package policy_test

import (
	"bytes"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/test/fixtures/document"
	"github.com/roce-k8s/roce-k8s/test/fixtures/released"
)

func TestThePoliciesOfEveryReleaseAreTaken(t *testing.T) {
	for _, file := range released.Files(t, "*.json") {
		if _, err := policy.Parse(file, released.Text(t, file)); err != nil {
			t.Error(err)
		}
	}
}

// What one of them allowed it allows, and what it denied it denies.
func TestAPolicyOfTheFirstReleaseMeansWhatItMeant(t *testing.T) {
	const file = "testdata/released/1.0/two-tenants.json"
	p, err := policy.Parse(file, released.Text(t, file))
	must(t, err)
	must(t, p.Check(rail()))
	for name, change := range map[string]func(*policy.Request){
		"another tenant's NIC": func(r *policy.Request) { r.NIC.Address = "0000:88:00.0" },
		"another namespace":    func(r *policy.Request) { r.Namespace = "default" },
		"a virtual NIC":        func(r *policy.Request) { r.NIC.Virtual = true },
		"force":                func(r *policy.Request) { r.Force = true },
		"an IPAM plugin":       func(r *policy.Request) { r.IPAM = "host-local" },
		"a sysctl":             func(r *policy.Request) { r.Sysctls = []string{"net.ipv4.conf.IFNAME.forwarding"} },
		"a table":              func(r *policy.Request) { r.Table, r.Priority = 200, 1000 },
		"a priority":           func(r *policy.Request) { r.Table, r.Priority = 100, 999 },
		"an MTU":               func(r *policy.Request) { r.MTU = 9001 },
	} {
		r := rail()
		change(&r)
		if p.Check(r) == nil {
			t.Errorf("%s is allowed", name)
		}
	}
}

func TestEveryKeyIsInAPolicyOfTheVersionThatBroughtIt(t *testing.T) {
	var all []byte
	for _, file := range released.Files(t, "*.json") {
		all = append(all, released.Text(t, file)...)
	}
	const page = "../../docs/security.md"
	for _, key := range document.FirstWords(t, page, "| key | default | meaning |") {
		if !bytes.Contains(all, []byte(`"`+key+`"`)) {
			t.Errorf("no policy below testdata/released has %q: add one to the folder of the version that brings it", key)
		}
	}
}
