package logging

// Once is what was last said about each subject, for code that looks at
// something again and again and logs only what is new. Deleting a subject
// forgets what was said about it. It is for one goroutine.
type Once map[string]string

// News tells whether a message about a subject differs from the last one, and
// remembers it. The message "" means that all is well.
func (o Once) News(subject, message string) bool {
	news := o[subject] != message
	o[subject] = message
	return news
}
