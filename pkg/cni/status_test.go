package cni

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/skel"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestSTATUSTellsANICThatIsInAPodFromOneWhoseHardwareIsGone(t *testing.T) {
	h := sysfs.MLX5(0)
	n := node.New(t, h)
	n.Attach(rdma.Shared, h)
	c, err := parseConfig([]byte(`{"cniVersion": "1.1.0", "name": "n", "device": "` + h.Netdev + `"}`))
	n.Must(err)
	o := &operation{
		Plugin: &Plugin{Node: n.RDMA(), Log: slog.New(slog.DiscardHandler)}, ctx: n.Ctx, args: &skel.CmdArgs{}, config: c, journal: n.Journal, host: node.NewHost(t),
	}
	n.Must(o.statusNIC())
	r, _, err := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: "net1"})
	n.Must(err)
	r.Step = attachment.Prepared // it is on its way
	n.Must(n.Journal.Update(r))
	n.Must(o.statusNIC())
	n.Must(n.Unplug(h))
	if want := "51 " + h.Netdev + ": its hardware is gone; held by pod default/gpu-rdma-pod-1"; !strings.HasPrefix(told(o.statusNIC()), want) {
		t.Errorf("%s, want %s", told(o.statusNIC()), want)
	}
}

func TestSTATUSSaysWhyAnADDWouldFail(t *testing.T) {
	h := sysfs.MLX5(0)
	nic := h.Netdev
	for name, tt := range map[string]struct {
		before func(s *scene)
		config string
		want   string
	}{
		"nothing is wrong":              {},
		"the network is wrong":          {config: network(nic, `, "mtu": 1`), want: "7 "},
		"the policy is wrong":           {before: func(s *scene) { s.policy(`"virtuall": 1`) }, want: "50 "},
		"no such NIC":                   {config: network("ens99np0", ""), want: `50 no NIC with device "ens99np0" on this node; compare with`},
		"no NIC is named":               {config: network("", ""), want: "7 network configuration: nothing names the NIC"},
		"the device plugin names one":   {config: network("", `, "capabilities": {"deviceID": true}`)},
		"another capability":            {config: network("", `, "capabilities": {"mac": true}`), want: "7 network configuration: nothing names the NIC"},
		"the second of several":         {config: severalNetwork("", nic, "ens99np0"), want: `50 no NIC with device "ens99np0" on this node`},
		"several NICs":                  {config: severalNetwork("", nic)},
		"no NIC matches":                {config: severalNetwork("", "eth*"), want: `50 no NIC of this node matches "eth*"`},
		"a NIC that cannot move":        {config: network("lo", ""), want: "50 lo: "},
		"no IPAM plugin":                {before: func(s *scene) { s.sh("rm " + s.Dir + "/bin/scripted") }, want: "50 ask IPAM plugin scripted: "},
		"an IPAM plugin that cannot":    {before: func(s *scene) { s.ipamFails("STATUS", "no range") }, want: "50 ask IPAM plugin scripted: no range"},
		"an IPAM plugin without STATUS": {before: func(s *scene) { s.ipamFails("STATUS", "unknown CNI_COMMAND: STATUS") }},
		"no IPAM plugin is needed":      {config: `{"cniVersion": "1.1.0", "name": "n", "rdma": "none", "device": "` + nic + `"}`},
		"no folder for the state yet":   {before: func(s *scene) { s.sh("rm -rf " + s.State()) }},
		"a state folder for no writing": {before: func(s *scene) { s.mountState("ro") }, want: "50 use the state folder "},
		"a file where the state is":     {before: func(s *scene) { s.sh("rm -rf " + s.State() + "; touch " + s.State()) }, want: "107 open the journal: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			if tt.before != nil {
				tt.before(s)
			}
			config := tt.config
			if config == "" {
				config = network(nic, "")
			}
			s.Setenv("CNI_COMMAND", "STATUS")
			err := s.status(&skel.CmdArgs{Path: s.Dir + "/bin", StdinData: []byte(config)})
			if !strings.HasPrefix(told(err), tt.want) || tt.want == "" && err != nil {
				t.Errorf("%s\nwant %s", told(err), tt.want)
			}
		})
	}
}
