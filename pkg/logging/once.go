package logging

// Once is what was last said of each subject, for whoever looks at something
// again and again and logs what is new only. Deleting a subject forgets what
// was said of it. It is for one goroutine.
type Once map[string]string

// News tells whether a message about a subject differs from the last one, and
// remembers it. That all is well is the message "".
func (o Once) News(subject, message string) bool {
	news := o[subject] != message
	o[subject] = message
	return news
}
