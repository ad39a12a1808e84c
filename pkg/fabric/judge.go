package fabric

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// What is made of canaries, which go from one rail to another.
const (
	CrossTold  = "told"  // it is told, and nothing follows
	CrossWorks = "works" // there must be a way
	CrossApart = "apart" // there must be none
	CrossOff   = "off"   // nobody looks
)

// Limits are what a good NIC keeps to.
type Limits struct {
	// Bandwidth is the least: in Gbit/s, or a percentage of what the slower of
	// the two ports carries. 0 is no limit.
	Bandwidth Bandwidth `json:"bandwidth"`
	// Latency is the most, in µs, for half of the iterations. 0 is no limit.
	Latency float64 `json:"latency"`
	// Cross is one of the constants.
	Cross string `json:"crossRail"`
}

// A Bandwidth is one of the two.
type Bandwidth struct {
	Gigabits float64 `json:"gigabits,omitempty"`
	Percent  float64 `json:"percent,omitempty"`
}

// Set reads "80%" or "350".
func (b *Bandwidth) Set(text string) error {
	digits, percent := strings.CutSuffix(text, "%")
	f, err := strconv.ParseFloat(digits, 64)
	switch {
	case err != nil || math.IsNaN(f) || math.IsInf(f, 0) || f < 0 || percent && f > 100:
		return errors.New("use a percentage of the port's rate, such as 80%, or Gbit/s, such as 350")
	case percent:
		*b = Bandwidth{Percent: f}
	default:
		*b = Bandwidth{Gigabits: f}
	}
	return nil
}

func (b Bandwidth) String() string {
	if b.Percent > 0 {
		return strconv.FormatFloat(b.Percent, 'g', -1, 64) + "%"
	}
	return strconv.FormatFloat(b.Gigabits, 'g', -1, 64)
}

// least is the limit for two ports, in Gbit/s; 0 for none.
func (b Bandwidth) least(from, to Rail) float64 {
	if b.Percent > 0 {
		return min(from.Rate, to.Rate) * b.Percent / 100
	}
	return b.Gigabits
}

func (t *Test) ends() []NIC { return []NIC{{t.From, t.FromRail}, {t.To, t.ToRail}} }

// judge gives each test its verdict, finds what explains those that are not good,
// and so who is to blame.
func (r *Report) judge(limits Limits) {
	for _, t := range r.Tests {
		if t.Cross {
			t.judgeCanary(limits.Cross)
		} else {
			r.judgeTest(t, limits)
		}
		t.blamed = t.ends()
	}
	r.findMissing()
	r.findProblems()
	r.findSmallMTU()
	r.findCommon()
	r.findRest()
	slices.SortStableFunc(r.Findings, func(a, b Finding) int { return b.Verdict.rank() - a.Verdict.rank() })
	r.Verdict = Passed
	if len(r.Findings) > 0 {
		r.Verdict = r.Findings[0].Verdict
	}
	if r.rails() == 0 {
		r.Verdict = Failed
		r.find(Finding{Verdict: Failed, Where: "all nodes", What: "there is no NIC with an RDMA device and an address"})
	}
	r.sum()
}

func (t *Test) judgeCanary(cross string) {
	switch {
	case t.Error == "" && cross == CrossApart:
		t.Verdict = Failed
		t.Why = []string{fmt.Sprintf("rail %d reaches rail %d, and they are to be apart", t.FromRail, t.ToRail)}
		return
	case t.Error == "":
		t.Verdict = Passed
		return
	case cross == CrossWorks:
		t.Verdict = Failed
	default:
		t.Verdict = Apart
	}
	t.Why = []string{t.Error}
}

func (r *Report) judgeTest(t *Test, limits Limits) {
	t.Verdict = Passed
	if t.Error != "" {
		t.Verdict, t.Why = Failed, []string{t.Error}
		return
	}
	from, to := r.rail(t.From, t.FromRail), r.rail(t.To, t.ToRail)
	if least := limits.Bandwidth.least(from, to); t.Bandwidth < least {
		t.slow(fmt.Sprintf("%s Gbit/s, less than %s", number(t.Bandwidth), number(least)))
	}
	if fits := min(from.ActiveMTU, to.ActiveMTU); 0 < t.MTU && t.MTU < fits {
		t.slow(fmt.Sprintf("RoCE packets of %d bytes, where the MTU of both netdevs lets %d through: see active_mtu of ibv_devinfo", t.MTU, fits))
	}
	if limits.Latency > 0 && t.Typical > limits.Latency {
		t.slow(fmt.Sprintf("%s µs, more than %s", number(t.Typical), number(limits.Latency)))
	}
}

func (t *Test) slow(why string) {
	t.Verdict = worse(t.Verdict, Slow)
	t.Why = append(t.Why, why)
}

func worse(a, b Verdict) Verdict {
	if a.rank() > b.rank() {
		return a
	}
	return b
}

// rail is a node's, or one without anything if it has none.
func (r *Report) rail(rank, number int) Rail {
	if rails := r.Nodes[rank].Rails; number < len(rails) {
		return rails[number]
	}
	return Rail{}
}

// all are the NICs that every node has or should have.
func (r *Report) all() (nics []NIC) {
	for _, n := range r.Nodes {
		for rail := range r.rails() {
			nics = append(nics, NIC{n.Rank, rail})
		}
	}
	return nics
}

func (r *Report) find(f Finding) { r.Findings = append(r.Findings, f) }

// where names a NIC.
func (r *Report) where(n NIC) string {
	s := fmt.Sprintf("%s rail %d", r.Nodes[n.Rank].Name, n.Rail)
	if rail := r.rail(n.Rank, n.Rail); rail.Netdev != "" {
		s += " (" + rail.Netdev + ")"
	}
	return s
}

// bad are the tests of a NIC that nothing explains yet, and how many it has.
func (r *Report) bad(n NIC) (bad []*Test, all int) {
	for _, t := range r.tests[n] {
		all++
		if t.Verdict.rank() > Apart.rank() && !t.explained {
			bad = append(bad, t)
		}
	}
	return bad, all
}

func (r *Report) findMissing() {
	for _, n := range r.Nodes {
		if n.Missing == "" {
			continue
		}
		f := Finding{Verdict: Failed, Where: n.Name, What: n.Missing}
		for _, t := range r.Tests {
			if !t.Cross && (t.From == n.Rank || t.To == n.Rank) {
				f.Tests++
				t.explained = true
				t.blamed = slices.DeleteFunc(t.ends(), func(end NIC) bool { return r.Nodes[end.Rank].Missing == "" })
			}
		}
		r.find(f)
	}
}

// findProblems finds NICs over which nothing can be tested, as their nodes say.
func (r *Report) findProblems() {
	for _, n := range r.all() {
		why := r.rail(n.Rank, n.Rail).Problem
		if n.Rail >= len(r.Nodes[n.Rank].Rails) {
			why = "the node has no such rail, and others have"
		}
		if bad, _ := r.bad(n); why != "" && len(bad) > 0 && r.Nodes[n.Rank].Missing == "" {
			r.blame(Failed, []NIC{n}, why, bad)
		}
	}
}

// findSmallMTU finds NICs with packets smaller than the others', which all who
// talk to them have to use as well, or which do not fit.
func (r *Report) findSmallMTU() {
	var largest Rail
	for _, n := range r.all() {
		if rail := r.rail(n.Rank, n.Rail); rail.ActiveMTU > largest.ActiveMTU {
			largest = rail
		}
	}
	for _, n := range r.all() {
		rail := r.rail(n.Rank, n.Rail)
		if rail.Problem != "" || rail.ActiveMTU == 0 || rail.ActiveMTU == largest.ActiveMTU {
			continue
		}
		why := fmt.Sprintf("MTU %d: RoCE packets of %d bytes (active_mtu), where others have MTU %d and %d bytes",
			rail.MTU, rail.ActiveMTU, largest.MTU, largest.ActiveMTU)
		verdict := Slow
		var tests []*Test
		for _, t := range r.tests[n] {
			if t.explained {
				continue
			}
			t.slow(r.where(n) + " has " + why)
			verdict = worse(verdict, t.Verdict)
			tests = append(tests, t)
		}
		r.blame(verdict, []NIC{n}, why, tests)
	}
}

// findCommon finds NICs that all tests of speak against.
func (r *Report) findCommon() {
	for _, n := range r.all() {
		bad, all := r.bad(n)
		if len(bad) < 2 || len(bad) < all {
			continue
		}
		verdict := Slow
		for _, t := range bad {
			verdict = worse(verdict, t.Verdict)
		}
		r.blame(verdict, []NIC{n}, fmt.Sprintf("with every other node; the first: %s", strings.Join(bad[0].Why, "; ")), bad)
	}
}

// findRest has the tests that nothing else explains.
func (r *Report) findRest() {
	for _, t := range r.Tests {
		if t.Verdict.rank() > Apart.rank() && !t.explained {
			r.find(Finding{Verdict: t.Verdict, NICs: t.ends(), Tests: 1,
				Where: r.where(t.ends()[0]) + " to " + r.where(t.ends()[1]), What: strings.Join(t.Why, "; ")})
		}
	}
}

func (r *Report) blame(v Verdict, nics []NIC, why string, tests []*Test) {
	for _, t := range tests {
		t.blamed, t.explained = nics, true
	}
	r.find(Finding{Verdict: v, NICs: nics, Where: r.where(nics[0]), What: why, Tests: len(tests)})
}

// A nicReport is what all tests of a NIC say of it.
type nicReport struct {
	Verdict Verdict
	// Medians of what was measured, 0 if nothing was.
	Bandwidth, Latency float64
}

func (n nicReport) String() string {
	switch {
	case n.Verdict == Failed:
		return string(n.Verdict)
	case n.Bandwidth == 0:
		return "untested" // its peers are to blame
	case n.Verdict == Slow:
		return number(n.Bandwidth) + " slow"
	}
	return number(n.Bandwidth)
}

// sum sums up the tests of each NIC.
func (r *Report) sum() {
	r.nics = map[NIC]nicReport{}
	for _, n := range r.all() {
		sum := nicReport{Verdict: Passed}
		var bandwidths, latencies []float64
		for _, t := range r.tests[n] {
			if slices.Contains(t.blamed, n) {
				sum.Verdict = worse(sum.Verdict, t.Verdict)
			}
			if t.Error == "" {
				bandwidths, latencies = append(bandwidths, t.Bandwidth), append(latencies, t.Typical)
			}
		}
		sum.Bandwidth, sum.Latency = median(bandwidths), median(latencies)
		r.nics[n] = sum
	}
}

func median(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	return values[len(values)/2]
}
