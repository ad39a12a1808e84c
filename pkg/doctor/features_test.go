package doctor

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsWrittenThroughNoLinkThatWasThereBefore(t *testing.T) {
	dir := t.TempDir()
	path, victim := filepath.Join(dir, "rails.json"), filepath.Join(dir, "victim")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(victim, []byte("precious"), 0o600))
	for _, link := range []string{".rails.json.new", "rails.json"} {
		must(os.Symlink(victim, filepath.Join(dir, link)))
	}
	must(replace(path, []byte("{}")))
	if b, _ := os.ReadFile(victim); string(b) != "precious" {
		t.Errorf("the link's target is %q", b)
	}
	if info, err := os.Lstat(path); err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestWhatCannotBeWrittenLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "taken", "by"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(dir, "taken"), []byte("{}")); err == nil {
		t.Error("a file has replaced a folder")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 1 {
		t.Errorf("left: %v", entries)
	}
}
