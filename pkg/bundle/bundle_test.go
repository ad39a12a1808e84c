package bundle

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/test/fixtures/archive"
)

func text(s string) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := io.WriteString(w, s)
		return err
	}
}

func TestABundleHasEachPartAndSaysWhatIsMissing(t *testing.T) {
	var out bytes.Buffer
	err := Write(&out, "node-1", time.Now(), []Part{
		{"one.txt", text("first\n")},
		{"half.txt", func(w io.Writer) error { return errors.Join(text("as far as it went\n")(w), errors.New("it broke")) }},
		{"none.txt", func(io.Writer) error { return errors.New("nobody answered at https://user:hush@host") }},
		{"last.txt", text("password=hush\n")},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"node-1/one.txt":     "first\n",
		"node-1/half.txt":    "as far as it went\n",
		"node-1/last.txt":    "password=\"(left out)\"\n",
		"node-1/missing.txt": "half.txt: it broke\nnone.txt: nobody answered at https://(left out)@host\n",
	}
	files := archive.Unpack(t, &out)
	if len(files) != len(want) {
		t.Errorf("%v", files)
	}
	for name, content := range want {
		if files[name].Content != content || files[name].Mode != 0o600 {
			t.Errorf("%s: %+v, want %q", name, files[name], content)
		}
	}
}

// A fullDisk takes nothing.
type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestABundleThatCannotBeWrittenIsAnError(t *testing.T) {
	if err := Write(fullDisk{}, "node-1", time.Now(), nil); err == nil {
		t.Error("no error")
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"JSON":             {`{"type": "whereabouts", "etcd_password": "hush", "range": "10.0.0.0/24"}`, `{"type": "whereabouts", "etcd_password": "(left out)", "range": "10.0.0.0/24"}`},
		"JSON in JSON":     {`{"config": "{\"token\": \"hush\"}"}`, `{"config": "{\"token\": "(left out)"}"}`},
		"YAML":             {"clientSecret: hush\nmtu: 9000", "clientSecret: \"(left out)\"\nmtu: 9000"},
		"a quoted word":    {`level=INFO password='hush hush' nic=ens12np0`, `level=INFO password="(left out)" nic=ens12np0`},
		"a command line":   {"--bearer-token=hush --mtu=9000", `--bearer-token="(left out)" --mtu=9000`},
		"a header":         {"Authorization: Bearer abcdefgh.ijk", "Authorization: Bearer (left out)"},
		"an address":       {"https://user:hush@host/path", "https://(left out)@host/path"},
		"a key":            {"a\n-----BEGIN EC PRIVATE KEY-----\nhush\n-----END EC PRIVATE KEY-----\nb", "a\n(left out)\nb"},
		"a key cut short":  {"-----BEGIN PRIVATE KEY-----\nhush", "(left out)"},
		"nothing to hide":  {`level=WARN msg="the NIC was pulled" nic=ens12np0 path=/sys/class/net`, `level=WARN msg="the NIC was pulled" nic=ens12np0 path=/sys/class/net`},
		"a name, no value": {"the token is wrong", "the token is wrong"},
	} {
		if got := string(redact([]byte(test.text))); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestATailIsWholeLines(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(file, []byte("one\ntwo\nthree\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for most, want := range map[int64]string{
		1: "", 5: "", 6: "three\n", 7: "three\n", 9: "three\n", 10: "two\nthree\n", 14: "one\ntwo\nthree\n", 100: "one\ntwo\nthree\n",
	} {
		var got strings.Builder
		if err := Tail(file, most)(&got); err != nil || got.String() != want {
			t.Errorf("the last %d bytes: %q, want %q (%v)", most, got.String(), want, err)
		}
	}
}

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	for _, path := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "absent")} {
		if err := Tail(path, 10)(io.Discard); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}
