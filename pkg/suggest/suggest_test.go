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
		"IPMASQ":                 "ipMasq",
		"vandor":                 "vendors", // a letter and one that is missing
		"mod":                    "mode",
		"vndors":                 "vendors",
		"veendors":               "vendors",
		"moabc":                  "", // three letters of a short word
		"runtimeConXXXX":         "runtimeConfig",
		"runtXXXXXnfig":          "",
	} {
		got, ok := Nearest(word, keys)
		if got != want || ok != (want != "") {
			t.Errorf("%s: got %q, %v, want %q", word, got, ok, want)
		}
	}
	for _, valid := range [][]string{{"mode", "node"}, {"node", "mode"}} {
		if got, _ := Nearest("lode", valid); got != valid[0] {
			t.Errorf("of %q, equally near: %s", valid, got)
		}
		if got, _ := Nearest("node", valid); got != "node" {
			t.Errorf("node is %s", got)
		}
	}
	if got, ok := Nearest("mode", nil); ok {
		t.Errorf("of no words: %q", got)
	}
}
