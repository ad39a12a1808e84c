package fabric

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// judged is all that a report says, in short: of tests that passed, nothing.
func judged(r *Report) string {
	nics := func(all []NIC) (s string) {
		for _, n := range all {
			s += fmt.Sprintf(" %d.%d", n.Rank, n.Rail)
		}
		return s
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n", r.Verdict)
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s%s, %d tests: %s: %s\n", f.Verdict, nics(f.NICs), f.Tests, f.Where, f.What)
	}
	for _, t := range r.Tests {
		if t.Verdict != Passed {
			fmt.Fprintf(&b, "%s: %s%s: %s\n", t, t.Verdict, nics(t.blamed), strings.Join(t.Why, "; "))
		}
	}
	for _, n := range r.all() {
		sum := r.nics[n]
		fmt.Fprintf(&b, "%d.%d %s, %s Gbit/s, %s µs\n", n.Rank, n.Rail, sum, number(sum.Bandwidth), number(sum.Latency))
	}
	return b.String()
}

// plain has every test measure the same.
func plain(change func(*Report)) func(*Report) {
	return func(r *Report) {
		for _, t := range r.Tests {
			t.Bandwidth, t.Typical = 390, 2
		}
		change(r)
	}
}

// between is the test of two NICs.
func (r *Report) between(a, b NIC) *Test {
	at := slices.IndexFunc(r.Tests, func(t *Test) bool {
		return slices.Contains(t.ends(), a) && slices.Contains(t.ends(), b)
	})
	return r.Tests[at]
}

func TestAReportBlamesWhatExplainsItsTests(t *testing.T) {
	for name, tt := range map[string]struct {
		rails  int
		change func(*Report)
		want   string
	}{
		"all is well": {1, func(*Report) {}, `
passed
0.0 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
2.0 390, 390 Gbit/s, 2.00 µs
`},
		"a limit is kept to": {1, func(r *Report) {
			r.Tests[0].Bandwidth, r.Tests[0].Typical = 320, 20
		}, `
passed
0.0 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 20.0 µs
2.0 390, 390 Gbit/s, 20.0 µs
`},
		"two NICs of one pair are slow": {1, func(r *Report) {
			r.between(NIC{0, 0}, NIC{1, 0}).Bandwidth = 100
			r.between(NIC{0, 0}, NIC{1, 0}).Typical = 21
		}, `
slow
slow 0.0 1.0, 1 tests: gpu-node-00 rail 0 (net1) to gpu-node-01 rail 0 (net1): 100 Gbit/s, less than 320; 21.0 µs, more than 20.0
0 rail 0 to 1 rail 0: slow 0.0 1.0: 100 Gbit/s, less than 320; 21.0 µs, more than 20.0
0.0 390 slow, 390 Gbit/s, 21.0 µs
1.0 390 slow, 390 Gbit/s, 21.0 µs
2.0 390, 390 Gbit/s, 2.00 µs
`},
		"a NIC is slow with all, and fails once": {1, func(r *Report) {
			r.between(NIC{1, 0}, NIC{0, 0}).Bandwidth = 100
			r.between(NIC{1, 0}, NIC{2, 0}).Error = "no completion"
		}, `
failed
failed 1.0, 2 tests: gpu-node-01 rail 0 (net1): with every other node; the first: no completion
1 rail 0 to 2 rail 0: failed 1.0: no completion
0 rail 0 to 1 rail 0: slow 1.0: 100 Gbit/s, less than 320
0.0 390, 390 Gbit/s, 2.00 µs
1.0 failed, 100 Gbit/s, 2.00 µs
2.0 390, 390 Gbit/s, 2.00 µs
`},
		"a cable is out": {2, func(r *Report) {
			r.Nodes[1].Rails[1].Problem, r.Nodes[1].Rails[1].ActiveMTU = "the port is DOWN", 1024
			for _, t := range r.tests[NIC{1, 1}] {
				t.Error = "the port is DOWN"
			}
		}, `
failed
failed 1.1, 2 tests: gpu-node-01 rail 1 (net2): the port is DOWN
1 rail 1 to 2 rail 1: failed 1.1: the port is DOWN
0 rail 1 to 1 rail 1: failed 1.1: the port is DOWN
0.0 390, 390 Gbit/s, 2.00 µs
0.1 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
1.1 failed, 0.000 Gbit/s, 0.000 µs
2.0 390, 390 Gbit/s, 2.00 µs
2.1 390, 390 Gbit/s, 2.00 µs
`},
		"a cable was out, and all tests passed": {1, func(r *Report) { r.Nodes[1].Rails[0].Problem = "the port is DOWN" }, `
passed
0.0 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
2.0 390, 390 Gbit/s, 2.00 µs
`},
		"one MTU is small": {1, func(r *Report) {
			r.Nodes[2].Rails[0].MTU, r.Nodes[2].Rails[0].ActiveMTU = 1500, 1024
			for _, t := range r.tests[NIC{2, 0}] {
				t.MTU = 1024
			}
			r.between(NIC{2, 0}, NIC{0, 0}).Error = "a packet did not fit"
		}, `
failed
failed 2.0, 2 tests: gpu-node-02 rail 0 (net1): MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
1 rail 0 to 2 rail 0: slow 2.0: gpu-node-02 rail 0 (net1) has MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
2 rail 0 to 0 rail 0: failed 2.0: a packet did not fit; gpu-node-02 rail 0 (net1) has MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
0.0 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
2.0 failed, 390 Gbit/s, 2.00 µs
`},
		"an MTU is small, and another test fails": {2, func(r *Report) {
			r.Nodes[2].Rails[0].MTU, r.Nodes[2].Rails[0].ActiveMTU = 1500, 1024
			r.between(NIC{0, 1}, NIC{1, 1}).Error = "no completion"
		}, `
failed
failed 0.1 1.1, 1 tests: gpu-node-00 rail 1 (net2) to gpu-node-01 rail 1 (net2): no completion
slow 2.0, 2 tests: gpu-node-02 rail 0 (net1): MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
1 rail 0 to 2 rail 0: slow 2.0: gpu-node-02 rail 0 (net1) has MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
2 rail 0 to 0 rail 0: slow 2.0: gpu-node-02 rail 0 (net1) has MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
0 rail 1 to 1 rail 1: failed 0.1 1.1: no completion
0.0 390, 390 Gbit/s, 2.00 µs
0.1 failed, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
1.1 failed, 390 Gbit/s, 2.00 µs
2.0 390 slow, 390 Gbit/s, 2.00 µs
2.1 390, 390 Gbit/s, 2.00 µs
`},
		"a node did not come": {2, func(r *Report) {
			r.Nodes[2].Missing, r.Nodes[2].Rails = "it did not come in 1m0s", nil
			for _, t := range r.Tests {
				if t.From == 2 || t.To == 2 {
					t.Error = "not tested"
				}
			}
		}, `
failed
failed, 4 tests: gpu-node-02: it did not come in 1m0s
1 rail 0 to 2 rail 0: failed 2.0: not tested
1 rail 1 to 2 rail 1: failed 2.1: not tested
1 rail 1 to 2 rail 0: apart 1.1 2.0: not tested
2 rail 0 to 0 rail 0: failed 2.0: not tested
2 rail 1 to 0 rail 1: failed 2.1: not tested
2 rail 0 to 0 rail 1: apart 2.0 0.1: not tested
0.0 390, 390 Gbit/s, 2.00 µs
0.1 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
1.1 390, 390 Gbit/s, 2.00 µs
2.0 failed, 0.000 Gbit/s, 0.000 µs
2.1 failed, 0.000 Gbit/s, 0.000 µs
`},
		"two nodes did not come": {1, func(r *Report) {
			for _, rank := range []int{1, 2} {
				r.Nodes[rank].Missing, r.Nodes[rank].Rails = "it did not come in 1m0s", nil
			}
			for _, t := range r.Tests {
				t.Error = "not tested"
			}
		}, `
failed
failed, 2 tests: gpu-node-01: it did not come in 1m0s
failed, 2 tests: gpu-node-02: it did not come in 1m0s
1 rail 0 to 2 rail 0: failed 1.0 2.0: not tested
2 rail 0 to 0 rail 0: failed 2.0: not tested
0 rail 0 to 1 rail 0: failed 1.0: not tested
0.0 untested, 0.000 Gbit/s, 0.000 µs
1.0 failed, 0.000 Gbit/s, 0.000 µs
2.0 failed, 0.000 Gbit/s, 0.000 µs
`},
		"a canary finds no way": {2, func(r *Report) {
			for _, t := range r.Tests {
				if t.Cross && t.From+t.To == 1 {
					t.Error = "no way"
				}
			}
		}, `
passed
0 rail 1 to 1 rail 0: apart 0.1 1.0: no way
0.0 390, 390 Gbit/s, 2.00 µs
0.1 390, 390 Gbit/s, 2.00 µs
1.0 390, 390 Gbit/s, 2.00 µs
1.1 390, 390 Gbit/s, 2.00 µs
2.0 390, 390 Gbit/s, 2.00 µs
2.1 390, 390 Gbit/s, 2.00 µs
`},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judged(drawn(3, tt.rails, plain(tt.change))); got != tt.want[1:] {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestACanaryMeansWhatTheLimitsSay(t *testing.T) {
	for _, tt := range []struct {
		cross string
		found bool // a way
		want  Verdict
		why   string
	}{
		{CrossTold, true, Passed, ""},
		{CrossTold, false, Apart, "no way"},
		{CrossWorks, true, Passed, ""},
		{CrossWorks, false, Failed, "no way"},
		{CrossApart, true, Failed, "rail 1 reaches rail 0, and they are to be apart"},
		{CrossApart, false, Apart, "no way"},
	} {
		c := &Test{FromRail: 1, Cross: true}
		if !tt.found {
			c.Error = "no way"
		}
		c.judgeCanary(tt.cross)
		if c.Verdict != tt.want || strings.Join(c.Why, "; ") != tt.why {
			t.Errorf("%s, a way %v: %s, %q", tt.cross, tt.found, c.Verdict, c.Why)
		}
	}
}

func TestAStatusIsAsBadAsItsVerdict(t *testing.T) {
	for v, want := range map[Verdict]int{Passed: 0, Slow: 1, Failed: 2, Apart: 2} {
		if v.Status() != want {
			t.Errorf("%s: %d", v, v.Status())
		}
	}
}

func TestANumberHasThreeDigitsThatSaySomething(t *testing.T) {
	for f, want := range map[float64]string{400: "400", 100: "100", 99.94: "99.9", 10: "10.0", 9.994: "9.99", 1: "1.00", 0.9994: "0.999", 0: "0.000"} {
		if got := number(f); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestAMedianIsTheUpperOfTheMiddle(t *testing.T) {
	for _, tt := range []struct {
		values []float64
		want   float64
	}{{nil, 0}, {[]float64{7}, 7}, {[]float64{9, 1}, 9}, {[]float64{3, 9, 1}, 3}} {
		if got := median(tt.values); got != tt.want {
			t.Errorf("%v: %v", tt.values, got)
		}
	}
}
