package bundle

import "regexp"

const leftOut = "(left out)"

// A secret is a way to write one, and what is left of it.
type secret struct {
	pattern *regexp.Regexp
	instead string
}

// secrets are how secrets are written in JSON, YAML, logs and on command lines.
func secrets() []secret {
	return []secret{
		{regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), leftOut},
		{regexp.MustCompile(`(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}`), "$1 " + leftOut},
		{regexp.MustCompile(`(\w+://)[^\s/@"]+@`), "$1" + leftOut + "@"},
		// A name that says so, perhaps in quotes that are escaped themselves, and its value.
		{regexp.MustCompile(`(?i)([\w.-]*(?:passw(?:or)?d|secret|token|credential|private_?key)[\w.-]*\\*"?\s*[:=]\s*)(?:\\*"[^"]*"|'[^']*'|[^\s"'{}\[\],]+)`), `$1"` + leftOut + `"`},
	}
}

// redact leaves out what looks like a secret. It would rather leave out too much.
func redact(text []byte) []byte {
	for _, s := range secrets() {
		text = s.pattern.ReplaceAll(text, []byte(s.instead))
	}
	return text
}
