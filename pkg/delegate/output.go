package delegate

// An output keeps the first bytes of what is written to it and drops the rest,
// so that the writer is never held up.
type output struct {
	limit int
	full  func() // called once, when there is more than limit; may be nil
	kept  []byte
	cut   bool
}

func (o *output) Write(p []byte) (int, error) {
	n := min(len(p), o.limit-len(o.kept))
	o.kept = append(o.kept, p[:n]...)
	if n < len(p) && !o.cut {
		o.cut = true
		if o.full != nil {
			o.full()
		}
	}
	return len(p), nil
}
