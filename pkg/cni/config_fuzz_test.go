package cni

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
)

// A configuration is refused with a CNI error of one line, or it says which
// NIC, and reading it again says the same.
func FuzzParseConfig(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"0.3.1","name":"roce-net1","type":"roce-host-device","device":"ens12np0","ipam":{"type":"whereabouts","range":"172.31.1.0/24","gateway":"172.31.1.1"}}`,
		`{"cniVersion":"1.1.0","name":"n","pciBusID":"0000:08:00.0","deviceID":"3","runtimeConfig":{"deviceID":"mlx5_core.sf.2","CNIDeviceInfoFile":"/d","mac":"02:00:00:00:00:01"}}`,
		`{"cniVersion":"1.1.0","name":"n","hwaddr":"94:6d:ae:c6:93:9a","sourceRouting":{"table":7,"priority":1},"sysctls":{"net.ipv4.conf.IFNAME.x":"1"}}`,
		`{"cniVersion":"1.1.0","name":"n","kernelpath":"/sys/devices/x","sourceRouting":true,"keepAddresses":true,"rdma":"none","mtu":9000,"force":true}`,
		`{"device":"x","sourceRouting":{"tabel":1}}`, `{"device":"x","sourceRouting":[
			-1]}`, `{"device":"x","mtuu":1}`, `{"device":1}`, `[]`, `null`, `{`, ``,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, stdin []byte) {
		c, err := parseConfig(stdin)
		var sel selector
		if err == nil {
			sel, err = c.selector()
		}
		if err != nil {
			e, ok := err.(*types.Error) //nolint:errorlint // it must be one itself: skel looks no deeper
			if !ok || e.Code == 0 || strings.Contains(e.Msg, "\n") {
				t.Fatalf("%#v", err)
			}
			return
		}
		if sel.value == "" {
			t.Fatalf("accepted, and names no NIC")
		}
		again, err := parseConfig(stdin)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := again.selector(); err != nil || same != sel {
			t.Fatalf("%v, then %v, %v", sel, same, err)
		}
	})
}

// What another plugin printed is passed through whole, or refused.
func FuzzPrevResult(f *testing.F) {
	for _, seed := range []string{
		`{"cniVersion":"1.1.0","interfaces":[{"name":"eth0","sandbox":"/n"}],"ips":[{"address":"10.1.1.1/24","interface":0}]}`,
		`{"cniVersion":"0.3.1","ips":[{"version":"4","address":"10.1.1.1/24"}],"routes":[{"dst":"0.0.0.0/0"}]}`,
		`{"cniVersion":"1.0.0","ips":[{"address":"10.1.1.1/24","interface":99}]}`, `{}`, `null`, `{"cniVersion":"9"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		if !json.Valid(result) {
			return
		}
		stdin := append(append([]byte(`{"cniVersion":"1.1.0","name":"n","device":"ens12np0","prevResult":`), result...), '}')
		c, err := parseConfig(stdin)
		if err != nil || c.PrevResult == nil {
			return
		}
		previous, err := current.NewResultFromResult(c.PrevResult)
		if err != nil {
			return // add passes only what converts
		}
		for index := range len(previous.Interfaces) + 1 {
			for _, ip := range ownAddresses(previous, index) {
				if *ip.Interface != index {
					t.Fatalf("%v is not of interface %d", ip, index)
				}
			}
		}
	})
}
