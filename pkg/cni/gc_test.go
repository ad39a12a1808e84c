package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"

	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestAnIPAMPluginIsToldThatAllNICsOfAValidCallAreValid(t *testing.T) {
	s := newScene(t, sysfs.MLX5(0), sysfs.MLX5(1))
	s.pod("c1").add("net1", network("", `, "devices": ["`+sysfs.MLX5(0).Netdev+`", "`+sysfs.MLX5(1).Netdev+`"]`))
	gc := func() error {
		t.Setenv("CNI_COMMAND", "GC")
		config := network("", `, "cni.dev/valid-attachments": [{"containerID": "c1", "ifname": "net1"}]`)
		return s.Plugin.gc(&skel.CmdArgs{Path: filepath.Join(s.Dir, "bin"), StdinData: []byte(config)})
	}
	s.Must(gc())
	b, err := os.ReadFile(filepath.Join(s.Dir, "bin/config."))
	s.Must(err)
	var told types.PluginConf
	s.Must(json.Unmarshal(b, &told))
	want := []types.GCAttachment{{ContainerID: "c1", IfName: "net1"}, {ContainerID: "c1", IfName: "net1-2"}}
	if !slices.Equal(told.ValidAttachments, want) {
		t.Errorf("told of %v, want %v", told.ValidAttachments, want)
	}
	// One that the policy does not allow has allocated nothing.
	s.asked()
	s.policy(`"ipam": ["static"]`)
	s.Must(gc())
	if asked := s.asked(); asked != "" {
		t.Errorf("asked for %s", asked)
	}
}
