package netdev

import "testing"

func TestAMountPointIsReadAsTheKernelEscapesIt(t *testing.T) {
	for escaped, want := range map[string]string{
		`/run/netns/a`:       "/run/netns/a",
		`/tmp/with\040space`: "/tmp/with space",
		`/tmp/back\134slash`: `/tmp/back\slash`,
		`/tmp/\134040`:       `/tmp/\040`,
	} {
		if got := unescape(escaped); got != want {
			t.Errorf("%s is %q, want %q", escaped, got, want)
		}
	}
}
