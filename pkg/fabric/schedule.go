package fabric

// A Pair is two nodes that test each other, by their ranks. From is the client.
type Pair struct{ From, To int }

// Rounds has every two of n nodes meet once. In a round no node is in two pairs;
// each is about as often client as it is server, so that each NIC sends as well as
// it receives.
//
// It is the circle method for tournaments: the last stays, the others move on by
// one place each round, and meet who is opposite. With an odd number one rests.
func Rounds(n int) (rounds [][]Pair) {
	places := n + n%2
	for round := range places - 1 {
		var pairs []Pair
		for i := range places / 2 {
			a, b := (round+i)%(places-1), (round+places-1-i)%(places-1)
			if i == 0 {
				b = places - 1
			}
			if a >= n || b >= n {
				continue // the other one rests
			}
			if i == 0 && round%2 == 1 { // else who stays is always the server
				a, b = b, a
			}
			pairs = append(pairs, Pair{a, b})
		}
		rounds = append(rounds, pairs)
	}
	return rounds
}

// canary are the rails between which one pair tries whether one rail reaches
// another: the next one, of a rail that differs from pair to pair.
func canary(p Pair, rails int) (from, to int, ok bool) {
	if rails < 2 {
		return 0, 0, false
	}
	from = (p.From + p.To) % rails
	return from, (from + 1) % rails, true
}
