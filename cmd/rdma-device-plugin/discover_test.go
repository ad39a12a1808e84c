package main

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/discovery"
)

func discoverLine(output string) *commandLine {
	return &commandLine{output: output, addressing: discovery.Addressing{IPAM: discovery.Whereabouts, Range: discovery.GuideRange}}
}

func TestRemarksAreToldBesideWhatIsAppliedAndNotBesideJSON(t *testing.T) {
	look := func() ([]*discovery.Node, error) {
		nic := discovery.NIC{Netdev: "ens11np0", RDMA: "mlx5_0", Address: "0000:08:00.0"}
		return []*discovery.Node{{Name: "a", Rails: []discovery.Rail{{NIC: nic, MTU: 9000, NoLink: true}}}}, nil
	}
	const remarks = "rdma-device-plugin: 1 remarks are in the comments, below \"Look at\"\n"
	for output, want := range map[string]string{"": remarks, "networks": remarks, "json": ""} {
		var stdout, stderr bytes.Buffer
		if err := printFleet(discoverLine(output), streams{out: &stdout, err: &stderr}, look); err != nil || stderr.String() != want || stdout.Len() == 0 {
			t.Errorf("%q: %v, %q, %q", output, err, &stdout, &stderr)
		}
		if json.Valid(stdout.Bytes()) != (output == "json") {
			t.Errorf("%q: %s", output, &stdout)
		}
	}
}

// A look may take long, and search all namespaces.
func TestNothingIsLookedAtForWhatCannotBePrinted(t *testing.T) {
	badAddress := discoverLine("")
	badAddress.addressing.MTU = 1
	for _, line := range []*commandLine{discoverLine("xml"), badAddress} {
		var out bytes.Buffer
		err := printFleet(line, streams{out: &out, err: &out}, func() ([]*discovery.Node, error) {
			t.Errorf("%q: it looks", line.output)
			return nil, nil
		})
		if err == nil || out.Len() > 0 {
			t.Errorf("%q: %v, %s", line.output, err, &out)
		}
	}
}
