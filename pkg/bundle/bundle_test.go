package bundle

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

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

func TestABundleIsOfTheTimeThatItIsGivenAndOfNothingMissingSaysNothing(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	var out bytes.Buffer
	if err := Write(&out, "node-1", at, []Part{{"one.txt", text("first\n")}, {"empty.txt", text("")}}); err != nil {
		t.Fatal(err)
	}
	zip, err := gzip.NewReader(&out)
	if err != nil {
		t.Fatal(err)
	}
	archive := tar.NewReader(zip)
	header, err := archive.Next()
	if err != nil || header.Name != "node-1/one.txt" || !header.ModTime.Equal(at) {
		t.Errorf("%+v, %v", header, err)
	}
	if next, err := archive.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("and %+v, %v", next, err)
	}
}

// A fullDisk takes so many bytes.
type fullDisk struct{ left int }

func (d *fullDisk) Write(p []byte) (int, error) {
	if d.left -= len(p); d.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestABundleThatCannotBeWrittenIsAnError(t *testing.T) {
	noise := make([]byte, 1<<20)
	if _, err := rand.Read(noise); err != nil { // it does not get shorter
		t.Fatal(err)
	}
	for name, parts := range map[string][]Part{
		"nothing":      nil,
		"a long part":  {{"noise", text(string(noise))}},
		"a long error": {{"none", func(io.Writer) error { return errors.New(string(noise)) }}},
	} {
		asked := false
		if err := Write(&fullDisk{}, "node-1", time.Now(), append(parts, Part{"next", func(io.Writer) error { asked = true; return nil }})); err == nil {
			t.Errorf("%s: no error", name)
		}
		if name == "a long part" && asked {
			t.Errorf("%s: and it goes on", name)
		}
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"JSON":             {`{"type": "whereabouts", "etcd_password": "hush", "range": "10.0.0.0/24"}`, `{"type": "whereabouts", "etcd_password": "(left out)", "range": "10.0.0.0/24"}`},
		"JSON in JSON":     {`{"config": "{\"token\": \"hush\"}"}`, `{"config": "{\"token\": "(left out)"}"}`},
		"YAML":             {"clientSecret: hush\nmtu: 9000", "clientSecret: \"(left out)\"\nmtu: 9000"},
		"a short name":     {"passwd=hush", "passwd=\"(left out)\""},
		"a key by name":    {"privateKey: hush, private_key=hush", "privateKey: \"(left out)\", private_key=\"(left out)\""},
		"credentials":      {"aws-credentials: hush", "aws-credentials: \"(left out)\""},
		"a basic header":   {"Authorization: Basic dXNlcjpodXNo", "Authorization: Basic (left out)"},
		"several":          {"token=a token=b", "token=\"(left out)\" token=\"(left out)\""},
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

// Such a file has no size.
func TestOfAFileOfProcNoMoreIsReadThanIsAskedFor(t *testing.T) {
	var got strings.Builder
	if err := Tail("/proc/version", 5)(&got); err != nil || got.String() != "Linux" {
		t.Errorf("%q, %v", got.String(), err)
	}
}

func TestWhatIsNoFileIsNotRead(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo") // nobody writes to it
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{t.TempDir(), "/dev/zero", filepath.Join(t.TempDir(), "absent"), fifo} {
		if err := Tail(path, 10)(io.Discard); err == nil {
			t.Errorf("%s was read", path)
		}
	}
}
