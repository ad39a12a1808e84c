package durable_test

import (
	"path/filepath"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/durable"
)

func TestAFolderIsSyncedAndWhatIsNoneIsAnError(t *testing.T) {
	dir := t.TempDir()
	if err := durable.SyncFolder(dir); err != nil {
		t.Error(err)
	}
	if err := durable.SyncFolder(filepath.Join(dir, "absent")); err == nil {
		t.Error("a folder that is not there was synced")
	}
}
