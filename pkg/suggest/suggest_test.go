package suggest

import "testing"

func TestNearestIsWhatWasMeantOrNothing(t *testing.T) {
	keys := []string{"ifNames", "vendors", "mode", "runtimeConfig", "ipMasq"}
	for word, want := range map[string]string{
		"ifnames":                "ifNames",
		"ifName":                 "ifNames",
		"vendor":                 "vendors",
		"medo":                   "mode",
		"runtime":                "runtimeConfig", // cut short
		"ifNamesAndMore":         "ifNames",
		"vlanTrunkConfiguration": "",
		"zzzz":                   "",
	} {
		got, ok := Nearest(word, keys)
		if got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", word, got, ok, want)
		}
	}
	if got, ok := Nearest("mode", nil); ok {
		t.Errorf("of no words: %q", got)
	}
}
