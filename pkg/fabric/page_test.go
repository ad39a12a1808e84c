package fabric

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// drawn is a report of nodes that met nobody: all is as healthy as the numbers say
// until change has been at it.
func drawn(nodes, rails int, change func(*Report)) *Report {
	c := Coordinator{Nodes: nodes, Wait: time.Minute, Program: "test",
		Load:   Load{Iterations: 1000, Seconds: 3, Size: 1 << 20, TrafficClass: 104, QPTimeout: 14},
		Limits: Limits{Bandwidth: Bandwidth{Percent: 80}, Latency: 20, Cross: CrossTold}}
	peers := make([]*peer, nodes)
	for rank := range peers {
		h := hello{Rank: rank, Nodes: nodes, Name: fmt.Sprintf("gpu-node-%02d", rank)}
		for rail := range rails {
			h.Rails = append(h.Rails, Rail{Netdev: fmt.Sprintf("net%d", rail+1), Device: fmt.Sprintf("mlx5_%d", rail), Port: 1, State: "ACTIVE",
				IP: netip.AddrFrom4([4]byte{10, 0, byte(rail), byte(rank + 1)}), GIDIndex: 3, MTU: 9000, ActiveMTU: 4096, Rate: 400})
		}
		peers[rank] = &peer{hello: h}
	}
	r := c.newReport(time.Date(2026, 11, 27, 4, 0, 0, 5, time.FixedZone("CET", 3600)), peers)
	for i, t := range r.Tests {
		t.take(Measurement{Typical: 2.1 + float64(i%7)/10, Tail: 4, Bandwidth: 388 + float64(i%5), MTU: 4096})
	}
	change(r)
	r.judge(c.Limits)
	return r
}

// A fabric with one of each: a cut NIC, one with a small MTU, a pair that is slow, a
// canary that found no way.
func ailing(r *Report) {
	r.Nodes[1].Rails[0].Problem, r.Nodes[1].Rails[0].State = "the port of mlx5_0 is DOWN: look at cable, transceiver and switch port", "DOWN"
	for _, t := range r.tests[NIC{1, 0}] {
		t.Error = r.Nodes[1].Name + ": net1: the port of mlx5_0 is DOWN"
	}
	r.Nodes[2].Rails[1].MTU, r.Nodes[2].Rails[1].ActiveMTU = 1500, 1024
	for _, t := range r.Tests {
		switch {
		case t.Cross && t.From+t.To == 1:
			t.Error = "gpu-node-00: Failed to modify QP 17 to RTR"
		case !t.Cross && t.FromRail == 0 && t.From+t.To == 2:
			t.Bandwidth = 100
		}
	}
}

func page(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.WritePage(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestThePageHasEachThingThatIsWrongAndWhy(t *testing.T) {
	r := drawn(4, 2, ailing)
	text := page(t, r)
	for _, want := range []string{
		`<span class="badge failed" id="verdict">failed</span>`,
		`<td class="failed">failed</td><td>gpu-node-01 rail 0 (net1)</td><td>the port of mlx5_0 is DOWN: look at cable, transceiver and switch port</td><td>3</td>`,
		`<td class="slow">slow</td><td>gpu-node-02 rail 1 (net2)</td><td>MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes</td><td>3</td>`,
		`100 Gbit/s, less than 320`,
		`Failed to modify QP 17 to RTR`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page has no %s", want)
		}
	}
	if len(r.Findings) != 3 {
		t.Errorf("%q", findings(r))
	}
}

func TestThePageHasAMatrixOfEachRailAndOneOfTheCanaries(t *testing.T) {
	p := drawn(3, 2, func(r *Report) {
		plain(ailing)(r)
		r.Nodes[1].Rails[1].Netdev = "eth2"
	}).page()
	var got []string
	for _, m := range p.Matrices {
		got = append(got, fmt.Sprintf("%s, %s, %s: %s", m.ID, m.Title, m.Netdevs, m.Sum))
		for _, row := range m.Rows {
			line := fmt.Sprintf("%d %s:", row.Rank, row.Name)
			for _, c := range row.Cells {
				line += fmt.Sprintf(" [%s %s %s %s]", c.Class, c.Sign, c.Text, c.Small)
			}
			got = append(got, line)
		}
	}
	for _, row := range p.NICs {
		line := fmt.Sprintf("%d %s:", row.Rank, row.Name)
		for _, c := range row.Cells {
			line += fmt.Sprintf(" [%s %s %s %s]", c.Class, c.Sign, c.Text, c.Small)
		}
		got = append(got, line)
	}
	const want = `
rail-0, Rail 0, net1: 2 failed, 1 slow
0 gpu-node-00: [self   ] [failed ✕ failed ] [slow ▲ 100 2.00 µs]
1 gpu-node-01: [failed ✕ failed ] [self   ] [failed ✕ failed ]
2 gpu-node-02: [slow ▲ 100 2.00 µs] [failed ✕ failed ] [self   ]
rail-1, Rail 1, net2, eth2: 2 slow, 1 passed
0 gpu-node-00: [self   ] [passed ✓ 390 2.00 µs] [slow ▲ 390 2.00 µs]
1 gpu-node-01: [passed ✓ 390 2.00 µs] [self   ] [slow ▲ 390 2.00 µs]
2 gpu-node-02: [slow ▲ 390 2.00 µs] [slow ▲ 390 2.00 µs] [self   ]
canaries, Between rails, : 1 apart, 2 passed
0 gpu-node-00: [self   ] [apart – apart ] [passed ✓ 2.00 µs ]
1 gpu-node-01: [apart – apart ] [self   ] [passed ✓ 2.00 µs ]
2 gpu-node-02: [passed ✓ 2.00 µs ] [passed ✓ 2.00 µs ] [self   ]
0 gpu-node-00: [slow ▲ 100 slow net1] [passed ✓ 390 net2]
1 gpu-node-01: [failed ✕ failed net1] [passed ✓ 390 eth2]
2 gpu-node-02: [slow ▲ 100 slow net1] [slow ▲ 390 slow net2]
`
	if strings.Join(got, "\n") != strings.TrimSpace(want) || len(p.RailCount) != 2 {
		t.Errorf("%s", strings.Join(got, "\n"))
	}
	for want, got := range map[string]string{
		"gpu-node-00 rail 0 (net1): mlx5_0, 10.0.0.1, GID index 3, MTU 9000, packets of 4096 bytes; 2.00 µs":                p.NICs[0].Cells[0].Title,
		"gpu-node-02 rail 0 (net1) → gpu-node-00 rail 0 (net1): 100 Gbit/s, 2.00 µs (99 %: 4.00) 100 Gbit/s, less than 320": p.Matrices[0].Rows[0].Cells[2].Title,
		"gpu-node-00 rail 0 (net1) → gpu-node-01 rail 0 (net1):  gpu-node-01: net1: the port of mlx5_0 is DOWN":             p.Matrices[0].Rows[0].Cells[1].Title,
		"gpu-node-01 rail 1 (eth2) → gpu-node-02 rail 0 (net1): 2.00 µs":                                                    p.Matrices[2].Rows[1].Cells[2].Title,
	} {
		if got != want {
			t.Errorf("%s\nwant %s", got, want)
		}
	}
	alone := drawn(2, 1, func(r *Report) {
		r.Nodes[1].Missing, r.Nodes[1].Rails, r.Tests[0].Error = "it did not come in 1m0s", nil, "not tested"
	}).page().NICs[0].Cells[0]
	if alone.Class != "untested" || alone.Sign != "·" || alone.Text != "untested" {
		t.Errorf("over which nothing was tested: %+v", alone)
	}
	for nodes, numbers := range map[int]bool{numbersUpTo: true, numbersUpTo + 1: false} {
		if drawn(nodes, 1, func(*Report) {}).page().Numbers != numbers {
			t.Errorf("%d nodes have numbers in their cells: %v", nodes, !numbers)
		}
	}
	if one := drawn(2, 1, func(*Report) {}).page(); len(one.Matrices) != 1 { // which has no canary
		t.Errorf("%+v", one.Matrices)
	}
}

func TestThePageHasBothHalvesOfAMatrix(t *testing.T) {
	text := page(t, drawn(3, 1, oneApart))
	if have := strings.Count(text, "390 Gbit/s, 2.30 µs"); have != 2 {
		t.Errorf("a test is there %d times", have)
	}
}

// oneApart has one test that differs from the others.
func oneApart(r *Report) {
	for _, t := range r.Tests {
		t.Bandwidth, t.Typical = 388, 2.1
	}
	r.Tests[1].Bandwidth, r.Tests[1].Typical = 390, 2.3
}

// Names come from other nodes.
func TestThePageTakesNoNameForMarkup(t *testing.T) {
	text := page(t, drawn(2, 1, func(r *Report) {
		r.Nodes[0].Name, r.Nodes[1].Rails[0].Netdev = "<script>alert(1)</script>", `"><img src=x>`
		r.Tests[0].Error = "</td><b>"
	}))
	for _, bad := range []string{"<script", "<img", "<b>"} {
		if strings.Contains(text, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestThePageAsksNobodyForAnything(t *testing.T) {
	text := page(t, drawn(3, 2, ailing))
	if found := regexp.MustCompile(`(?i)https?:|src=|@import|url\(|<link|<script`).FindAllString(text, -1); found != nil {
		t.Errorf("%q", found)
	}
}

func TestTheTableHasARowANodeAndAColumnARail(t *testing.T) {
	var b strings.Builder
	if err := drawn(3, 2, ailing).WriteTable(&b); err != nil {
		t.Fatal(err)
	}
	const want = `Gbit/s       rail 0    rail 1
gpu-node-00  100 slow  392
gpu-node-01  failed    390
gpu-node-02  100 slow  392 slow
`
	const rest = `
failed gpu-node-01 rail 0 (net1) the port of mlx5_0 is DOWN: look at cable, transceiver and switch port
slow gpu-node-02 rail 1 (net2) MTU 1500: RoCE packets of 1024 bytes (active_mtu), where others have MTU 9000 and 4096 bytes
slow gpu-node-02 rail 0 (net1) to gpu-node-00 rail 0 (net1) 100 Gbit/s, less than 320

failed: 3 nodes, 2 rails; of the tests 1 passed, 3 slow, 2 failed; between rails 2 passed, 1 apart, 0 failed
`
	below, ok := strings.CutPrefix(b.String(), want)
	if below = regexp.MustCompile(" +").ReplaceAllString(below, " "); !ok || below != rest {
		t.Errorf("have\n%s", b.String())
	}
}

func TestASummaryCountsTestsAndCanariesByTheirVerdicts(t *testing.T) {
	r := &Report{Verdict: Failed, Nodes: make([]NodeReport, 2)}
	for verdict, numbers := range map[Verdict][2]int{Passed: {1, 2}, Slow: {3, 0}, Failed: {4, 5}, Apart: {0, 6}} {
		for range numbers[0] {
			r.Tests = append(r.Tests, &Test{Verdict: verdict})
		}
		for range numbers[1] {
			r.Tests = append(r.Tests, &Test{Verdict: verdict, Cross: true})
		}
	}
	if got := r.Summary(); got != "failed: 2 nodes, 0 rails; of the tests 1 passed, 3 slow, 4 failed; between rails 2 passed, 6 apart, 5 failed" {
		t.Error(got)
	}
}

func TestTheReportIsReadAsItsSchemaSays(t *testing.T) {
	var b strings.Builder
	if err := drawn(2, 1, func(r *Report) { r.Tests[0].Error = "a: <b>" }).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	var have map[string]any
	if err := json.Unmarshal([]byte(b.String()), &have); err != nil {
		t.Fatal(err)
	}
	test := have["tests"].([]any)[0].(map[string]any)
	for field, want := range map[string]string{
		"program": `"test"`, "started": `"2026-11-27T03:00:00Z"`, "load": `{"iterations":1000,"qpTimeout":14,"readLatency":false,"seconds":3,"size":1048576,"trafficClass":104}`,
		"limits": `{"bandwidth":{"percent":80},"crossRail":"told","latency":20}`,
	} {
		if text, err := json.Marshal(have[field]); err != nil || string(text) != want {
			t.Errorf("%s is %s, %v", field, text, err)
		}
	}
	if have["schema"] != Schema || have["verdict"] != "failed" || test["error"] != "a: <b>" || !strings.Contains(b.String(), "<b>") || test["verdict"] != "failed" {
		t.Errorf("%s", b.String())
	}
}

// probe adds to a page what measures it as the browser shows it: whether the words
// of each kind of cell stand out from their ground (WCAG's contrast), whether the page
// is wider than its window, what it has asked for.
const probe = `<pre id="probe"></pre><script>
const light = c => { const [r, g, b] = c.match(/[\d.]+/g).slice(0, 3).map(v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4); return .2126 * r + .7152 * g + .0722 * b };
const contrast = e => { const s = getComputedStyle(e), [a, b] = [light(s.color), light(s.backgroundColor)].sort((x, y) => y - x); return (a + .05) / (b + .05) };
const kinds = {}; let count = {};
for (const e of document.querySelectorAll('section td[class], #nics td')) { kinds[e.className] ??= contrast(e); count[e.className] = (count[e.className] || 0) + 1 }
delete kinds.self;
document.getElementById('probe').textContent = JSON.stringify({kinds, count, colours: [...new Set([...document.querySelectorAll('section td[class]')].map(e => e.className + getComputedStyle(e).backgroundColor))].length,
  body: getComputedStyle(document.body).backgroundColor, wide: document.documentElement.scrollWidth - innerWidth, height: document.documentElement.scrollHeight,
  sections: document.querySelectorAll('section').length, rows: document.querySelectorAll('#nics tbody tr').length, asked: performance.getEntriesByType('resource').length,
  small: Math.min(...[...document.querySelectorAll('section td[class]')].map(e => e.getBoundingClientRect().width))});
</script></body>`

// A measured page is what the probe saw.
type measured struct {
	Kinds, Count                        map[string]float64
	Body                                string
	Wide, Height, Sections, Rows, Asked float64
	Small                               float64
}

// look shows a page in a browser.
func look(t *testing.T, text string, flags ...string) (m measured) {
	t.Helper()
	browser := os.Getenv("ROCE_CHROMIUM")
	if browser == "" {
		t.Skip("needs a browser: run it with `make test-fabric`")
	}
	csp := regexp.MustCompile(`<meta http-equiv="Content-Security-Policy".*>`)
	if !csp.MatchString(text) {
		t.Error("the page has no policy against requests")
	}
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(strings.Replace(csp.ReplaceAllString(text, ""), "</body>", probe, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(browser, append(flags, "--window-size=1280,900", "--dump-dom", "file://"+file)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`<pre id="probe">(\{.*\})</pre>`).FindSubmatch(out)
	if found == nil {
		t.Fatalf("the browser did not get to the end of the page: %.2000s", out)
	}
	if err := json.Unmarshal(found[1], &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestThePageOfManyNodesIsReadableInABrowserLightAndDark(t *testing.T) {
	text := page(t, drawn(64, 8, ailing))
	ground := map[string]bool{}
	for scheme, flag := range map[string]string{"light": "--blink-settings=preferredColorScheme=1", "dark": "--blink-settings=preferredColorScheme=0"} {
		m := look(t, text, flag)
		for _, kind := range []string{"passed", "slow", "failed", "apart"} {
			if m.Kinds[kind] < 4.5 {
				t.Errorf("%s: the words of %s have contrast %.2f", scheme, kind, m.Kinds[kind])
			}
		}
		if m.Wide > 0 || m.Sections != 9 || m.Rows != 64 || m.Asked != 0 || m.Small < 14 {
			t.Errorf("%s: %+v", scheme, m)
		}
		// 63 of the cut NIC, each in both halves, and its own cell.
		if m.Count["failed"] != 2*63+1 || m.Count["slow"] != 2*63+1+2+2 {
			t.Errorf("%s: %v", scheme, m.Count)
		}
		ground[m.Body] = true
	}
	if len(ground) != 2 {
		t.Errorf("light and dark have the same ground, %v", ground)
	}
	if size := len(text); size > 12<<20 {
		t.Errorf("a page of %d bytes", size)
	}
}
