package crash_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// podsPerNIC want each NIC at once.
const podsPerNIC = 8

func TestOfSixtyFourADDsForEightNICsEightSucceed(t *testing.T) {
	n := newNode(t)
	before := n.hostState()
	pods := make([]pod, podsPerNIC*len(rails))
	errs := make([]error, len(pods))
	for i := range pods {
		pods[i] = n.newPod(fmt.Sprint("storm", i))
	}
	start := time.Now()
	n.parallel(len(pods), func(i int) {
		_, errs[i] = n.call("ADD", pods[i], "net1", n.config(rails[i%len(rails)]))
	})
	took, holders, codes := time.Since(start), make([]int, len(rails)), map[uint]int{}
	for i, err := range errs {
		codes[code(err)]++
		switch {
		case err == nil:
			holders[i%len(rails)]++
		case code(err) == 11: // waited too long; who has it is in the message
		case code(err) != 101 || !strings.Contains(err.Error(), "held by"):
			t.Errorf("code %d: %v", code(err), err)
		}
	}
	for i, holders := range holders {
		if holders != 1 {
			t.Errorf("%d pods have been given %s", holders, rails[i])
		}
	}
	t.Logf("%d ADDs at once in %.1f s: answers by code %v", len(pods), took.Seconds(), codes)
	// As a runtime does for those that failed, too.
	n.parallel(len(pods), func(i int) {
		if tries, err := n.delAtLast(pods[i], "net1", n.config(rails[i%len(rails)])); err != nil {
			t.Errorf("%d DELs, the last of them: %v", tries, err)
		}
	})
	if d := until(func() string { return n.unlike(before) }); d != "" {
		t.Error(d)
	}
}

// delAtLast repeats a DEL that found no time for a lock or for its IPAM plugin, as a
// runtime does: sixty-four at once may be too much for one emulated processor.
func (n *node) delAtLast(p pod, ifName string, config map[string]any) (tries int, err error) {
	for tries = 1; ; tries++ {
		_, err = n.call("DEL", p, ifName, config)
		if outOfTime := code(err) == 11 || code(err) == 108; !outOfTime || tries == 5 {
			return tries, err
		}
	}
}

// rounds is how many ADDs, each with its DEL, the eight rails share, unless
// ROCE_STORM_ROUNDS says otherwise.
func rounds(t *testing.T) int {
	text := os.Getenv("ROCE_STORM_ROUNDS")
	switch {
	case text == "" && inLab() && os.Getenv("ROCE_LAB_SAMPLE") == "":
		return 500
	case text == "":
		return 80
	}
	rounds, err := strconv.Atoi(text)
	must(t, err)
	return rounds
}

func TestManyRoundsOverEightRailsLeaveNoDifference(t *testing.T) {
	n := newNode(t)
	n.configureHost()
	if inLab() {
		t.Cleanup(n.unconfigureHost)
	}
	before, rounds := n.hostState(), rounds(t)
	pods := make([]pod, len(rails))
	for i := range pods {
		pods[i] = n.newPod(fmt.Sprint("round", i))
	}
	start := time.Now()
	n.parallel(len(rails), func(i int) {
		config := n.config(rails[i])
		for range (rounds + len(rails) - 1) / len(rails) {
			for _, verb := range []string{"ADD", "DEL"} {
				if _, err := n.call(verb, pods[i], "net1", config); err != nil {
					t.Error(err)
					return
				}
			}
		}
	})
	t.Logf("%d rounds over %d rails in %.1f s", rounds, len(rails), time.Since(start).Seconds())
	if d := until(func() string { return n.unlike(before) }); d != "" {
		t.Error(d)
	}
}

// parallel calls f for every i below count at once, each from the host.
func (n *node) parallel(count int, f func(i int)) {
	var wg sync.WaitGroup
	for i := range count {
		wg.Go(func() {
			n.enter()
			f(i)
		})
	}
	wg.Wait()
}
