package terminal

import (
	"os/exec"
	"strings"
	"testing"
)

func TestATerminalShowsAllAndDoesNothing(t *testing.T) {
	for text, want := range map[string]string{
		"ens11np0":            "ens11np0",
		"a b_ü":               "a b_ü",
		"a\x1b[2Jb":           "a\uFFFD[2Jb",
		"a\nb\tc\r":           "a; b\uFFFDc\uFFFD",
		"\u202eright to left": "\uFFFDright to left",
		"\xff":                "\uFFFD",
		"\u009b2J":            "\uFFFD2J", // CSI in one character
	} {
		if got := Plain(text); got != want {
			t.Errorf("%q is shown as %q, want %q", text, got, want)
		}
	}
}

func TestAShellTakesAWordForOne(t *testing.T) {
	for text, want := range map[string]string{
		"ens11np0":     "ens11np0",
		"0000:08:00.0": "0000:08:00.0",
		";id>x;#":      ";id>x;#",
		"$(id)`id`":    "$(id)`id`",
		"it's":         "it's",
		"a  b":         "a  b",
		"":             "",
		"a\nid":        "a; id",
		"a$(id)b":      "a$(id)b",
	} {
		out, err := exec.Command("sh", "-c", "printf '<%s>' "+Word(text)).CombinedOutput()
		if err != nil || string(out) != "<"+want+">" {
			t.Errorf("%q is %s, which a shell takes for %q (%v)", text, Word(text), out, err)
		}
	}
	for c := rune(1); c < 0x250; c++ {
		plain := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.ContainsRune("_.@:/*-", c)
		text := "a" + string(c) + "b"
		if IsWord(text) != plain || IsWord(string(c)) != plain || (Word(text) == text) != plain {
			t.Errorf("%q becomes %s", text, Word(text))
		}
	}
	if IsWord("") || Word("") != "''" || IsWord(";") || !IsWord("ens11np0/ecn/roce_*/enable/3") {
		t.Error("what is a word is not, or the other way round")
	}
}
