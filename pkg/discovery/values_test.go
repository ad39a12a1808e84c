package discovery

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"go.yaml.in/yaml/v3"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

func TestTheValuesHaveWhatTheManifestsHave(t *testing.T) {
	f := Merge([]*Node{describeFake(t)})
	decode := func(text string, to any) {
		t.Helper()
		if err := yaml.Unmarshal([]byte(text), to); err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
	}
	text := printed(t, f, Values, guide())
	var values struct {
		Config   any
		Networks []struct {
			Name   string
			Config any
		}
	}
	decode(text, &values)
	var configMap struct{ Data map[string]string }
	decode(printed(t, f, ConfigMap, guide()), &configMap)
	var config any
	for _, content := range configMap.Data {
		decode(content, &config)
	}
	if !reflect.DeepEqual(values.Config, config) || config == nil {
		t.Errorf("the configuration is\n%v\nwant\n%v", values.Config, config)
	}
	documents := strings.Split(printed(t, f, Networks, guide()), "---\n")
	if len(values.Networks) != len(documents) || len(documents) != 8 {
		t.Fatalf("%d networks of %d", len(values.Networks), len(documents))
	}
	for i, document := range documents {
		var manifest struct {
			Metadata struct{ Name string }
			Spec     struct{ Config string }
		}
		decode(document, &manifest)
		var want any
		decode(manifest.Spec.Config, &want)
		if got := values.Networks[i]; got.Name != manifest.Metadata.Name || !reflect.DeepEqual(got.Config, want) || want == nil {
			t.Errorf("network %d: %+v\nwant %s %v", i, got, manifest.Metadata.Name, want)
		}
	}
	if !strings.Contains(text, "\n  configList:\n") && !strings.Contains(text, "\nconfig:\n  ") {
		t.Errorf("indented otherwise:\n%s", text)
	}
}

func TestADeviceIsNoRailForOneOfTheseReasons(t *testing.T) {
	rail := inventory.Device{Device: rdma.Device{Bus: rdma.BusPCI, Address: "0000:08:00.0", Netdevs: []string{"eth0"}, LinkType: "ether"}, Place: inventory.OnHost}
	for want, change := range map[string]func(*inventory.Device){
		"":                               func(*inventory.Device) {},
		"its hardware or driver is gone": func(d *inventory.Device) { d.Place = inventory.Gone },
		"it is the management device of another one":                                 func(d *inventory.Device) { d.Beside = true },
		"its link is infiniband, not Ethernet":                                       func(d *inventory.Device) { d.LinkType = "infiniband" },
		"it has no netdev":                                                           func(d *inventory.Device) { d.Netdevs = nil },
		"it is on no bus, and so has no place in the order":                          func(d *inventory.Device) { d.Address = "" },
		"it is a virtual function: docs/operations.md has how to give those to pods": func(d *inventory.Device) { d.PhysicalFunction = "0000:08:00.0" },
	} {
		d := rail
		change(&d)
		if got := unfit(d); got != want {
			t.Errorf("%+v: %q, want %q", d, got, want)
		}
	}
	unknown, scalable := rail, rail
	unknown.LinkType, scalable.Bus = "", rdma.BusAuxiliary
	if unfit(unknown) != "" || unfit(scalable) == "" {
		t.Errorf("of an unknown link %q, of a scalable function %q", unfit(unknown), unfit(scalable))
	}
}

func TestARailHasTheNameAndTheMTUThatItHasOnTheHost(t *testing.T) {
	d := inventory.Device{Device: rdma.Device{Name: "mlx5_0", Netdevs: []string{"eth0", "eth1"}, NUMANode: 1}, AltNames: []string{"rail0"}, Place: inventory.OnHost, NoCarrier: true}
	links := map[string]netlink.Link{"eth0": &netlink.Device{LinkAttrs: netlink.LinkAttrs{MTU: 9000}}, "net1": &netlink.Device{LinkAttrs: netlink.LinkAttrs{MTU: 1}}}
	links["ens1"] = links["net1"] // whoever has the name now
	inPod := d
	inPod.Place, inPod.Holder = inventory.InPod, &attachment.Record{Host: netdev.State{Name: "ens1", MTU: 4200}}
	bare := inventory.Device{Device: rdma.Device{Name: "mlx5_1"}}
	for _, tt := range []struct {
		d    inventory.Device
		want string
	}{
		{d, "eth0 mlx5_0 9000 no link true [rail0] 1"},
		{inPod, "ens1 mlx5_0 4200 no link false [rail0] 1"},
		{bare, " mlx5_1 0 no link false [] 0"},
	} {
		r := railOf(rdma.Node{Sys: t.TempDir()}, tt.d, links)
		if got := fmt.Sprint(r.Netdev, " ", r.RDMA, " ", r.MTU, " no link ", r.NoLink, " ", r.AltNames, " ", r.NUMANode); got != tt.want {
			t.Errorf("%s, want %s", got, tt.want)
		}
	}
}

func TestACommentStaysOnItsLine(t *testing.T) {
	const evil = "a\nb\rc\x7fd\u0085e\u2028f\u2029g\xffh é"
	if got := comment(evil); got != "a?b?c?d?e?f?g?h é" {
		t.Errorf("%q", got)
	}
}

func TestAnObjectKeepsItsOrderInJSONAndInYAML(t *testing.T) {
	o := object{{"b", "x: y"}, {"a", 7}, {"list", []string{"p", "q r"}}, {"objects", []object{{{"z", true}, {"w", 1}}, {{"x", "2"}}}}, {"last", object{{"k", "v"}}}}
	text := o.json("")
	var decoded map[string]any
	if err := json.Unmarshal([]byte(text), &decoded); err != nil || len(decoded) != 5 {
		t.Fatalf("%v in %s", err, text)
	}
	const want = `{
  "b": "x: y",
  "a": 7,
  "list": ["p", "q r"],
  "objects": [
    {
      "z": true,
      "w": 1
    },
    {
      "x": "2"
    }
  ],
  "last": {
    "k": "v"
  }
}`
	if text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	b, err := yaml.Marshal(o.yaml())
	if err != nil {
		t.Fatal(err)
	}
	wantYAML := "b: 'x: y'|a: 7|list: [p, q r]|objects:|    - z: true|      w: 1|    - x: \"2\"|last:|    k: v|"
	if got := strings.ReplaceAll(string(b), "\n", "|"); got != wantYAML {
		t.Errorf("%s\nwant\n%s", got, wantYAML)
	}
}

func TestGPUsAreInTheOrderOfTheirAddresses(t *testing.T) {
	n := describeFake(t, func(_ *node.FakeGuideNode, n *node.Node) { // whose names are in another order
		for _, domain := range []string{"10000", "2000"} {
			n.Must(n.AddGPU("pci"+domain+":00/"+domain+":00:01.1", domain+":01:00.0"))
		}
	})
	var addresses []string
	for _, g := range n.GPUs {
		addresses = append(addresses, g.Address)
	}
	if len(addresses) < 10 || !slices.IsSortedFunc(addresses, rdma.ComparePCI) {
		t.Errorf("%q", addresses)
	}
}
