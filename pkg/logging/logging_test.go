package logging

import (
	"strings"
	"testing"
)

func TestLogsAreWhatTheFlagsSay(t *testing.T) {
	for _, test := range []struct{ level, format, want string }{
		{"info", "text", `level=WARN msg=hello`},
		{"error", "json", ``},
		{"DEBUG", "json", `"level":"WARN","msg":"hello"`},
		{"loud", "text", "error: log level \"loud\": use debug, info, warn or error"},
		{"info", "xml", "error: log format \"xml\": use text or json"},
	} {
		var out strings.Builder
		log, err := New(&out, test.level, test.format)
		if err != nil {
			out.WriteString("error: " + err.Error())
		} else {
			log.Warn("hello")
		}
		if !strings.Contains(out.String(), test.want) || test.want == "" && out.Len() > 0 {
			t.Errorf("%s %s: got %q", test.level, test.format, out.String())
		}
	}
}

func TestWhatWasSaidIsNoNews(t *testing.T) {
	once := Once{}
	for n, test := range []struct {
		subject, message string
		want             bool
	}{
		{"a", "", false}, // that all is well is not news
		{"a", "down", true},
		{"a", "down", false},
		{"b", "down", true},
		{"a", "gone", true},
		{"a", "", true},
		{"a", "gone", true},
	} {
		if got := once.News(test.subject, test.message); got != test.want {
			t.Errorf("%d: %s %q: news is %v", n, test.subject, test.message, got)
		}
	}
	delete(once, "a")
	if !once.News("a", "gone") {
		t.Error("what was forgotten is not news")
	}
}
