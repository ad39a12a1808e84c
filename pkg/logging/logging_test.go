package logging

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestLogsAreWhatTheFlagsSay(t *testing.T) {
	for _, test := range []struct{ level, format, want string }{
		{"info", "text", `level=WARN msg=hello`},
		{"error", "json", ``},
		{"error", "text", ``},
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

func TestWhatComesAndGoesIsSaidSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seldom := NewSeldom(time.Minute)
		for n, test := range []struct {
			subject, message string
			want             bool
		}{ // twenty seconds apart
			{"a", "", false},
			{"a", "down", true},
			{"a", "", false},
			{"a", "down", false},
			{"a", "", false},
			{"a", "down", true}, // a minute and more has passed
			{"b", "down", true},
			{"a", "gone", true},
			{"a", "gone", false},
			{"a", "gone", false},
			{"a", "gone", false},
			{"a", "gone", false}, // it never was well meanwhile
		} {
			if got := seldom.News(test.subject, test.message); got != test.want {
				t.Errorf("%d: %s %q: news is %v", n, test.subject, test.message, got)
			}
			time.Sleep(20 * time.Second)
		}
		seldom.Keep(map[string]bool{"a": true})
		if seldom.News("a", "gone") || !seldom.News("b", "down") {
			t.Error("what is kept is forgotten, or the other way round")
		}
	})
}
