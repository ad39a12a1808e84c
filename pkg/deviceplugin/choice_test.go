package deviceplugin

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestTheChoiceIsWhatTheResourcesHave(t *testing.T) {
	devices := []inventory.Device{}
	for _, name := range []string{"mlx5_0", "mlx5_1", "mlx5_2"} {
		devices = append(devices, inventory.Device{Device: rdma.Device{Name: name, Bus: rdma.BusPCI, Address: "0000:0" + name[5:] + ":00.0"}})
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	for content, want := range map[string]struct {
		names    []string
		together bool
	}{
		"configList: [{resourceName: a, rdmaHcaMax: 1, selectors: {rdmaDevices: [mlx5_1, mlx5_2]}}]":                                                                         {[]string{"mlx5_1", "mlx5_2"}, true},
		"configList: [{resourceName: a, rdmaHcaMax: 1, selectors: {rdmaDevices: [mlx5_0]}}, {resourceName: b, mode: perDevice, selectors: {rdmaDevices: [mlx5_0, mlx5_2]}}]": {[]string{"mlx5_0", "mlx5_2"}, false},
	} {
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := ReadChoice(file)
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, d := range c.Of(devices) {
			names = append(names, d.Name)
		}
		if !slices.Equal(names, want.names) || c.Together() != want.together {
			t.Errorf("%s: %v, together %v", content, names, c.Together())
		}
	}
	if c, err := ReadChoice(file + "-none"); c != nil || err != nil {
		t.Errorf("without a file: %v, %v", c, err)
	}
	if err := os.WriteFile(file, []byte("configList: []"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadChoice(file); err == nil {
		t.Error("a bad file is taken")
	}
}
