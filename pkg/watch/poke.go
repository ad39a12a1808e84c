package watch

// Poke tells whoever receives that something may have changed, and does not wait
// for it. The channel has room for one: what is on its way already says the same.
func Poke(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
