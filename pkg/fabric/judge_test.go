package fabric

import (
	"strings"
	"testing"
)

func TestALimitOfBandwidthIsAPercentageOrGigabits(t *testing.T) {
	for text, want := range map[string]string{"80%": "80%", "350": "350", "0": "0", "0%": "0", "92.5%": "92.5%", "101%": "", "-1": "", "fast": "", "": "", "NaN": "", "nan%": "", "Inf": "", "-inf": ""} {
		var b Bandwidth
		err := b.Set(text)
		if (err != nil) != (want == "") || err == nil && b.String() != want {
			t.Errorf("%q: %s, %v", text, b, err)
		}
	}
}

func TestTheSlowerPortSaysHowFastATestHasToBe(t *testing.T) {
	r := drawn(2, 1, func(r *Report) {
		r.Nodes[1].Rails[0].Rate = 100
		r.Tests[0].Bandwidth = 85
	})
	if r.Verdict != Passed {
		t.Errorf("%q", findings(r))
	}
	if r := drawn(2, 1, func(r *Report) { r.Tests[0].Bandwidth = 85 }); r.Verdict != Slow || r.Verdict.Status() != 1 {
		t.Errorf("%s", r.Verdict)
	}
}

func TestLatencyHasALimit(t *testing.T) {
	r := drawn(2, 1, func(r *Report) { r.Tests[0].Typical = 31 })
	if have := findings(r); len(have) != 1 || !strings.Contains(have[0], "slow: gpu-node-00 rail 0 (net1) to gpu-node-01 rail 0 (net1): 31.0 µs, more than 20.0") &&
		!strings.Contains(have[0], "slow: gpu-node-01 rail 0 (net1) to gpu-node-00 rail 0 (net1): 31.0 µs, more than 20.0") {
		t.Errorf("%q", have)
	}
}

func TestPacketsSmallerThanBothMTUsAllowAreNoticed(t *testing.T) {
	r := drawn(2, 1, func(r *Report) { r.Tests[0].MTU = 1024 })
	if have := findings(r); len(have) != 1 || !strings.Contains(have[0], "RoCE packets of 1024 bytes, where the MTU of both netdevs lets 4096 through") {
		t.Errorf("%q", have)
	}
}

func TestANICThatIsSlowWithAllIsFoundOnce(t *testing.T) {
	r := drawn(5, 2, func(r *Report) {
		for _, m := range r.tests[NIC{3, 1}] {
			m.Bandwidth = 50
		}
	})
	if have := findings(r); len(have) != 1 || !strings.Contains(have[0], "slow: gpu-node-03 rail 1 (net2): with every other node; the first: 50.0 Gbit/s, less than 320") {
		t.Errorf("%q", have)
	}
	if r.nics[NIC{3, 1}].Verdict != Slow || r.nics[NIC{0, 1}].Verdict != Passed {
		t.Errorf("%+v", r.nics)
	}
}

func TestANICThatIsGoodWithOneIsNotBlamedAlone(t *testing.T) {
	r := drawn(4, 1, func(r *Report) {
		r.between(NIC{3, 0}, NIC{0, 0}).Bandwidth = 50
		r.between(NIC{3, 0}, NIC{1, 0}).Bandwidth = 50
	})
	for _, f := range r.Findings {
		if len(f.NICs) != 2 || f.Tests != 1 {
			t.Errorf("%+v", f)
		}
	}
	if len(r.Findings) != 2 {
		t.Errorf("%q", findings(r))
	}
}

func TestARailThatANodeLacksIsFound(t *testing.T) {
	r := drawn(3, 2, func(*Report) {})
	if r.Verdict != Passed {
		t.Fatalf("%q", findings(r))
	}
	c := Coordinator{Nodes: 2, Limits: Limits{Cross: CrossOff}}
	r = c.newReport(r.Started, []*peer{{hello: hello{Name: "a", Rails: r.Nodes[0].Rails}}, {hello: hello{Name: "b", Rails: r.Nodes[1].Rails[:1]}}})
	for _, m := range r.Tests[:1] {
		m.take(Measurement{Typical: 2, Bandwidth: 390, MTU: 4096})
	}
	r.judge(c.Limits)
	if have := findings(r); len(have) != 1 || have[0] != "failed: b rail 1: the node has no such rail, and others have" {
		t.Errorf("%q", have)
	}
}

func TestNodesWithoutRailsHaveFailed(t *testing.T) {
	c := Coordinator{Nodes: 2}
	r := c.newReport(drawn(2, 1, func(*Report) {}).Started, []*peer{{hello: hello{Name: "a"}}, {hello: hello{Name: "b"}}})
	if r.judge(c.Limits); r.Verdict != Failed || r.Verdict.Status() != 2 || len(r.Findings) != 1 {
		t.Errorf("%s, %q", r.Verdict, findings(r))
	}
}
