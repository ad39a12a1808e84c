package fabric

import (
	"fmt"
	"testing"
)

func TestEveryTwoNodesMeetOnceAndNoNodeIsInTwoPairsOfARound(t *testing.T) {
	for n := 2; n <= 64; n++ {
		met := map[[2]int]int{}
		client := make([]int, n)
		rounds := Rounds(n)
		if want := n - 1 + n%2; len(rounds) != want {
			t.Errorf("%d nodes meet in %d rounds, want %d", n, len(rounds), want)
		}
		for number, round := range rounds {
			busy := map[int]bool{}
			for _, p := range round {
				if p.From == p.To || p.From < 0 || p.To < 0 || p.From >= n || p.To >= n {
					t.Fatalf("%d nodes, round %d: %v", n, number, p)
				}
				if busy[p.From] || busy[p.To] {
					t.Errorf("%d nodes, round %d: a node of %v is in two pairs", n, number, p)
				}
				busy[p.From], busy[p.To] = true, true
				met[[2]int{min(p.From, p.To), max(p.From, p.To)}]++
				client[p.From]++
			}
			if len(round) != n/2 {
				t.Errorf("%d nodes, round %d: %d pairs, so somebody waits for nothing", n, number, len(round))
			}
		}
		for pair, times := range met {
			if times != 1 {
				t.Errorf("%d nodes: %v meet %d times", n, pair, times)
			}
		}
		if len(met) != n*(n-1)/2 {
			t.Errorf("%d nodes: %d pairs meet", n, len(met))
		}
		for node, times := range client {
			if servant := n - 1 - times; n > 2 && (times-servant > 2 || servant-times > 2) {
				t.Errorf("%d nodes: node %d is client %d times and server %d times", n, node, times, servant)
			}
		}
	}
}

func TestCanariesGoFromEveryRailToTheNext(t *testing.T) {
	for rails := 2; rails <= 8; rails++ {
		seen := map[string]bool{}
		for _, round := range Rounds(2 * rails) {
			for _, p := range round {
				from, to, ok := canary(p, rails)
				if !ok || from == to || to != (from+1)%rails {
					t.Errorf("%d rails: %d to %d", rails, from, to)
				}
				seen[fmt.Sprint(from)] = true
			}
		}
		if len(seen) != rails {
			t.Errorf("%d rails: canaries start from %d of them", rails, len(seen))
		}
	}
	if _, _, ok := canary(Pair{0, 1}, 1); ok {
		t.Error("one rail has a canary to another")
	}
}
