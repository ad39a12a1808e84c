package crash_test

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// A repair is what comes after a crash. It leaves no attachment of the pod
// behind; problem is what it found wrong on the way.
type repair struct {
	name string
	run  func(s *sweep, p pod) (problem string)
}

var repairs = []repair{
	{"DEL", (*sweep).del},
	{"the ADD again, DEL", func(s *sweep, p pod) string { return join(s.add(p), s.del(p)) }},
	{"GC", (*sweep).gc},
	{"another pod's ADD, DEL of both", func(s *sweep, p pod) string { return join(s.addOther(), s.del(s.other), s.del(p)) }},
	{"a DEL that is killed, too, DEL", func(s *sweep, p pod) string { s.killAgain("DEL", p); return s.del(p) }},
	{"the ADD again, killed, too, DEL", func(s *sweep, p pod) string { s.killAgain("ADD", p); return s.del(p) }},
}

// hardwareRepairs are those of a NIC that survives its namespace.
var hardwareRepairs = []repair{
	{"the pod's end, DEL", func(s *sweep, p pod) string { s.end(p); return s.del(p) }},
	{"the pod's end, GC", func(s *sweep, p pod) string { s.end(p); return s.gc(p) }},
	{"the pod's end, another pod's ADD, DEL of both", func(s *sweep, p pod) string {
		s.end(p)
		return join(s.addOther(), s.del(s.other), s.del(p))
	}},
}

// A sweep kills one command in many places, and repairs after each.
type sweep struct {
	*node
	t *testing.T
	variant
	repairs    []repair
	conf       map[string]any
	pod, other pod
	first      death
	second     death // of the repair, if it is killed, too
	random     *rand.Rand
	before     []string // the host's state
	podBefore  []string // the pod's
}

// A point is where to kill: before a system call, or after some time.
type point struct {
	call int
	time time.Duration
}

func (p point) String() string {
	if p.call > 0 {
		return fmt.Sprint("change ", p.call)
	}
	return p.time.String()
}

// A variant is a network configuration that takes other paths, and what it has
// to lead to.
type variant struct {
	name    string
	changes func(n *node) map[string]any
	leases  int
	want    []string // in the pod
	// meddles is what the pod does to its NIC before a DEL or GC: arguments of ip.
	meddles []string
	// rounds is how often each point is tried, each time with another way to go on;
	// 0: with all.
	rounds int
}

var (
	plain = variant{"host-local", func(*node) map[string]any { return nil }, 1, []string{"net1 address 172.31.1.", "rdma rxe0 guid"}, nil, 0}
	rich  = variant{"two families, source routing, sysctls, device info", func(n *node) map[string]any {
		changes := map[string]any{
			"ipam": map[string]any{"type": "host-local", "dataDir": n.ipamDir(),
				"ranges": []any{[]any{map[string]any{"subnet": "172.31.1.0/24"}}, []any{map[string]any{"subnet": "fd00:31::/64"}}}},
			"sourceRouting": true,
			"sysctls":       map[string]any{"net.ipv4.conf.IFNAME.arp_notify": "1"},
			"runtimeConfig": map[string]any{"CNIDeviceInfoFile": filepath.Join(policy.DefaultDeviceInfoDir, "crash", "device.json")},
		}
		if inLab() {
			changes["rdmaDeviceName"] = "roce0"
		}
		return changes
	}, 2, []string{"net1 address 172.31.1.", "net1 address fd00:31::", "rule from 172.31.1.", "rdma roce0 guid"}, nil, 0}
	kept = variant{"the host's addresses", func(*node) map[string]any {
		return map[string]any{"ipam": map[string]any{}, "keepAddresses": true}
	}, 0, []string{"net1 address 192.168.1.1/24", "net1 address fd00:1::1/64", "net1 route 10.1.0.0/16 via 192.168.1.9", "rdma rxe0 guid"},
		[]string{"link", "property", "add", "dev", "net1", "altname", rails[0]}, 0}
	two = variant{"two NICs in one call", func(*node) map[string]any {
		return map[string]any{"device": nil, "devices": rails[:2]}
	}, 2, []string{"net1 address 172.31.1.", "net1-2 mtu 4200", "net1-2 address 172.31.1.", "rdma rxe0 guid", "rdma rxe1 guid"}, nil, 2}
	slow = variant{"a slow IPAM plugin", func(n *node) map[string]any {
		return map[string]any{"ipam": map[string]any{"type": slowIPAM, "dataDir": n.ipamDir(), "subnet": "172.31.1.0/24"}}
	}, 1, plain.want, nil, 0}
)

func TestAfterACrashAtAnySystemCallNothingIsLost(t *testing.T) {
	for _, v := range []variant{plain, rich, kept, two} {
		for _, command := range []string{"ADD", "DEL", "GC"} {
			if command == "GC" && v.name != plain.name {
				continue // it is a DEL in this respect
			}
			t.Run(command+", "+v.name, func(t *testing.T) {
				s := newSweep(t, v)
				var points []point
				for i := range s.count(command) {
					points = append(points, point{call: i + 1})
				}
				s.run(command, points)
			})
		}
	}
}

// A slow IPAM plugin is at work for nearly all of the time, in which the
// plugin makes no system calls: here the clock says when.
func TestAfterACrashWhileTheIPAMPluginIsAtWorkNothingIsLost(t *testing.T) {
	for _, command := range []string{"ADD", "DEL", "GC"} {
		t.Run(command, func(t *testing.T) {
			var points []point
			pauses := map[string]int{"ADD": 2, "DEL": 2, "GC": 4}[command] // GC calls it twice
			for i := range 2*pauses + 1 {
				points = append(points, point{time: thinkingTime * time.Duration(i+1) / 2})
			}
			newSweep(t, slow).run(command, points)
		})
	}
}

func newSweep(t *testing.T, v variant) *sweep {
	s := &sweep{t: t, node: newNode(t), variant: v, repairs: repairs, random: rand.New(rand.NewSource(1))}
	s.configureHost()
	if inLab() {
		t.Cleanup(s.unconfigureHost)
		s.repairs = slices.Concat(repairs, hardwareRepairs)
	}
	s.pod, s.other = s.newPod("one"), s.newPod("two")
	s.ready()
	return s
}

func (s *sweep) ready() {
	s.conf = s.config(rails[0], s.changes(s.node))
	s.conf["cni.dev/valid-attachments"] = []any{} // for GC; the others do not look
	s.before, s.podBefore = s.hostState(), s.stateOf(s.pod)
}

// startAnew makes the next attempt independent of a failed one, where it can.
func (s *sweep) startAnew() {
	want := s.before
	s.reset()
	s.end(s.pod)
	s.end(s.other)
	s.ready()
	if d := difference(want, s.before); inLab() && d != "" {
		s.t.Fatalf("the host stays broken:\n%s", d)
	}
}

// budget bounds a sweep, in the lab at 20 seconds unless told otherwise.
// 0: no bound.
func budget(t *testing.T) time.Duration {
	text := os.Getenv("ROCE_CRASH_BUDGET")
	switch {
	case text == "" && inLab():
		return 20 * time.Second
	case text == "":
		return 0
	}
	d, err := time.ParseDuration(text)
	must(t, err)
	return d
}

// failures is how many a sweep reports before it gives up.
const failures = 10

func (s *sweep) run(command string, points []point) {
	s.t.Helper()
	type attempt struct {
		point
		repair
	}
	var attempts []attempt
	// Every point once, with one repair, before any comes twice: a sweep that
	// is cut short has tried some of everything.
	for round := range cmp.Or(s.rounds, len(s.repairs)) {
		for i, j := range rand.New(rand.NewSource(1)).Perm(len(points)) {
			attempts = append(attempts, attempt{points[j], s.repairs[(i+round)%len(s.repairs)]})
		}
	}
	start, limit := time.Now(), budget(s.t)
	tried, crashes, late, failed := 0, 0, 0, 0
	for _, a := range attempts {
		if limit > 0 && time.Since(start) > limit || failed == failures {
			break
		}
		tried++
		for _, orphans := range []bool{false, true} {
			p := pod{fmt.Sprintf("c%d-%v", tried, orphans), s.pod.netns}
			problem := s.crash(command, a.point, orphans, a.repair, p)
			crashes++
			if problem != "" {
				failed++
				s.t.Errorf("%s killed at %s (%s; its IPAM plugin runs: %v, is killed, too: %v), then %s:\n%s",
					command, a.point, s.first.at, s.first.orphan, orphans, a.repair.name, problem)
				s.startAnew()
			}
			if s.first.at == "" {
				late++ // this run was done before
			}
			if !s.first.orphan {
				break
			}
		}
	}
	s.t.Logf("%s: %d points, %d ways to go on; tried %d of %d, with %d crashes (%d came too late); %d failed; %.0f s",
		command, len(points), len(s.repairs), tried, len(attempts), crashes-late, late, failed, time.Since(start).Seconds())
}

// count runs a command to its end some times, and counts its points: their
// number varies, as its threads do.
func (s *sweep) count(command string) (points int) {
	for i := range 3 {
		if problem := s.crash(command, point{}, false, s.repairs[0], pod{fmt.Sprintf("dry%d", i), s.pod.netns}); problem != "" {
			s.t.Fatalf("%s without a crash: %s", command, problem)
		}
		points = max(points, s.first.points)
	}
	return points
}

// crash kills a command, repairs, and says what is not as before.
func (s *sweep) crash(command string, at point, orphans bool, r repair, p pod) string {
	s.first, s.second = death{}, death{}
	if command != "ADD" {
		if problem := s.add(p); problem != "" {
			return "before the crash: " + problem
		}
		if len(s.meddles) > 0 {
			ip(s, append([]string{"-n", filepath.Base(p.netns)}, s.meddles...)...)
		}
	}
	subject := p
	if command == "GC" {
		subject = pod{}
	}
	if at.time > 0 {
		s.first = s.killAfter(at.time, orphans, command, subject, s.conf)
	} else {
		s.first = s.killAt(at.call, orphans, command, subject, s.conf)
	}
	problem := join(r.run(s, p), s.remains())
	if problem != "" {
		problem = join(problem, "the killed command's output: "+s.first.output)
		if s.second.at != "" {
			problem = join(problem, "the repair was killed at: "+s.second.at, "its output: "+s.second.output)
		}
	}
	return problem
}

// killAgain kills a repair at some point of it.
func (s *sweep) killAgain(command string, p pod) {
	s.second = s.killAt(1+s.random.Intn(40), false, command, p, s.conf)
}

// awaitOrphans waits for what killed commands left running.
func (s *sweep) awaitOrphans() {
	s.first.awaitOrphans()
	s.second.awaitOrphans()
}

// remains says what is not as before the attachments.
func (s *sweep) remains() string {
	s.awaitOrphans()
	return until(func() string {
		return join(s.unlike(s.before), on("the pod", difference(s.podBefore, s.stateOf(s.pod))))
	})
}

func (s *sweep) do(command string, p pod) string {
	if _, err := s.call(command, p, "net1", s.conf); err != nil {
		return err.Error()
	}
	return ""
}

func (s *sweep) del(p pod) string { return s.do("DEL", p) }

// gc runs with no valid attachment. A runtime's GC is about no container.
func (s *sweep) gc(pod) string { return s.do("GC", pod{}) }

// add attaches the NIC and looks whether the pod has all of it.
func (s *sweep) add(p pod) string {
	result, err := s.call("ADD", p, "net1", s.conf)
	if err != nil {
		return err.Error()
	}
	// What the killed command left running must not take anything away.
	s.awaitOrphans()
	check := map[string]any{"prevResult": result}
	maps.Copy(check, s.conf)
	if _, err := s.call("CHECK", p, "net1", check); err != nil {
		return join(err.Error(), s.attached(p))
	}
	return s.attached(p)
}

// addOther attaches the NIC to another pod. Whoever has got it by then may
// keep it, but nobody may say that there is none.
func (s *sweep) addOther() string {
	if problem := s.add(s.other); !strings.Contains(problem, "held by") {
		return problem
	}
	return ""
}

// end ends a pod's namespace, and makes another one under its name.
func (s *sweep) end(p pod) {
	name := filepath.Base(p.netns)
	ip(s, "netns", "del", name)
	ip(s, "netns", "add", name)
}

// attached compares a pod, and the host, with what they must have during an
// attachment.
func (s *sweep) attached(p pod) string {
	var problems []string
	have := strings.Join(s.stateOf(p), "\n")
	want := append([]string{"net1 mtu 4200", "up true"}, s.variant.want...)
	for _, w := range want {
		if strings.HasPrefix(w, "rdma") && os.Getenv("ROCE_LAB_MODE") != "exclusive" {
			continue
		}
		if !strings.Contains(have, w) {
			problems = append(problems, fmt.Sprintf("the pod has no %q:\n%s", w, have))
		}
	}
	for _, line := range state(s, s.host) {
		if strings.HasPrefix(line, rails[0]) || strings.HasPrefix(line, "net1") {
			problems = append(problems, "the host has, while the pod has the NIC: "+line)
		}
	}
	files := strings.Join(s.leftovers(), " ")
	if !strings.Contains(files, "attachments/"+p.id+"@net1.json") || strings.Count(files, "ipam/") != s.leases {
		problems = append(problems, fmt.Sprintf("the state folder has not one record and %d addresses: %s", s.leases, files))
	}
	return join(problems...)
}
