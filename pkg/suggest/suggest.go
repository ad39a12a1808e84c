// Package suggest finds the valid word that a user most likely meant.
//
// It knows how words are mistyped. It must not know what the words are for.
package suggest

import "strings"

// Nearest returns the valid word that is nearest to word, whatever the case. ok
// is false if none is near enough to be meant: it may differ in a third of its
// letters, or in two, or be cut short.
func Nearest(word string, valid []string) (nearest string, ok bool) {
	closest := 1 + max(2, len(word)/3)
	for _, v := range valid {
		a, b := strings.ToLower(word), strings.ToLower(v)
		d := distance(a, b)
		if strings.HasPrefix(a, b) || strings.HasPrefix(b, a) {
			d = min(d, 2)
		}
		if d < closest {
			nearest, closest = v, d
		}
	}
	return nearest, nearest != ""
}

// distance counts the insertions, deletions and replacements that turn a into
// b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(diagonal+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
