package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

func TestTheGuideHasEightNetworksForTheEightNICsOfItsConfigMap(t *testing.T) {
	text, networks, err := readGuide()
	if err != nil {
		t.Fatal(err)
	}
	config, err := parsePluginConfig(text)
	if err != nil {
		t.Fatal(err)
	}
	nics := config.ConfigList[0].Selectors.IfNames
	if len(networks) != 8 || len(nics) != 8 {
		t.Fatalf("%d networks, %d NICs", len(networks), len(nics))
	}
	for i, n := range networks {
		var c struct {
			CNIVersion, Name, Type, Device string
			IPAM                           struct{ Type, Range, Gateway string }
		}
		if err := json.Unmarshal([]byte(n.config), &c); err != nil {
			t.Fatal(err)
		}
		got := []string{n.name, c.CNIVersion, c.Name, c.Type, c.Device, n.device, c.IPAM.Type, c.IPAM.Range, c.IPAM.Gateway}
		want := []string{fmt.Sprintf("roce-net-%d", i+1), "0.3.1", fmt.Sprintf("roce-net%d", i+1), "roce-host-device", nics[i], nics[i],
			"whereabouts", fmt.Sprintf("172.31.%d.0/24", i+1), fmt.Sprintf("172.31.%d.1", i+1)}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	if second := networks[0].renamed(secondNode); second.device != "ens22np0" || !strings.Contains(second.config, `"device": "ens22np0"`) {
		t.Errorf("on node 2: %+v", second)
	}
}

func TestRDMALinks(t *testing.T) {
	out := "link rxe0/1 state ACTIVE physical_state LINK_UP netdev net1 \nlink rxe1/1 state DOWN physical_state DISABLED netdev net2 \nlink rxe2/1 state ACTIVE physical_state LINK_UP \n"
	want := []rdmaLink{{"rxe0", "1", "ACTIVE", "net1"}, {"rxe1", "1", "DOWN", "net2"}, {"rxe2", "1", "ACTIVE", ""}}
	links := parseRDMALinks(out)
	if !reflect.DeepEqual(links, want) {
		t.Errorf("got %v, want %v", links, want)
	}
	if got := ibdev2netdev(links); got != "rxe0 port 1 ==> net1 (Up)\nrxe1 port 1 ==> net2 (Down)" {
		t.Errorf("got %q", got)
	}
}

const ipA = `1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN group default qlen 1000
    link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00
    inet 127.0.0.1/8 scope host lo
       valid_lft forever preferred_lft forever
6: net1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000 qdisc mq state UP group default qlen 1000
    link/ether 94:6d:ae:c6:93:9a brd ff:ff:ff:ff:ff:ff
    inet 172.31.1.1/24 brd 172.31.1.255 scope global net1
       valid_lft forever preferred_lft forever
    inet6 fe80::966d:aeff:fec6:939a/64 scope link proto kernel_ll 
       valid_lft forever preferred_lft forever
`

func TestIPA(t *testing.T) {
	want := `6: net1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 9000 qdisc mq state UP
    link/ether 94:6d:ae:c6:93:9a brd ff:ff:ff:ff:ff:ff
    inet 172.31.1.1/24 brd 172.31.1.255 scope global net1`
	if got := shortIPA(ipA); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := parseIPA(ipA)["net1"]; got != "net1 up mtu 9000 172.31.1.1/24" {
		t.Errorf("got %q", got)
	}
}

func TestShorten(t *testing.T) {
	for names, want := range map[string]string{
		"":                                 "",
		"uverbs3":                          "uverbs3",
		"uverbs0 uverbs1 uverbs10 uverbs9": "uverbs0-1,9-10",
		"uverbs0 uverbs1 uverbs1":          "uverbs0-1,1",
		"rdma_cm":                          "rdma_cm",
	} {
		if got := shorten(strings.Fields(names)); got != want {
			t.Errorf("%s: got %s, want %s", names, got, want)
		}
	}
}

func TestResultLineOfPerftest(t *testing.T) {
	out := " #bytes #iterations    t_min[usec]    t_max[usec]  t_typical[usec] \n 2       100          310.07         29444.95      779.25 \n-----"
	if got := strings.Join(resultLine(out), " "); got != "2 100 310.07 29444.95 779.25" {
		t.Errorf("got %q", got)
	}
	if got := resultLine("Couldn't connect"); got != nil {
		t.Errorf("got %q", got)
	}
}

func TestComparingNICsFindsWhatChanged(t *testing.T) {
	before := []nic{
		{name: "a", pci: "1", fields: []field{{"MTU", "9000"}, {"state", "up"}}},
		{name: "b", pci: "2", fields: []field{{"MTU", "9000"}}},
	}
	after := []nic{{name: "a", pci: "1", fields: []field{{"MTU", "1500"}, {"state", "up"}}}}
	n, details := compareNICs(before, after)
	if want := []string{`a: MTU was "9000", is "1500"`, "b is not on the host"}; n != 2 || !reflect.DeepEqual(details, want) {
		t.Errorf("%d: %q", n, details)
	}
}
