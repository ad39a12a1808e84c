package config

import (
	"strings"
	"testing"
)

// What the kubelet or the API server would refuse is refused here, and nothing else.
func TestWhatIsJustWithinItsBoundsIsTakenAndWhatIsNotIsNot(t *testing.T) {
	resource := func(name, prefix string) string {
		return `{"configList": [{"resourceName": "` + name + `", "resourcePrefix": "` + prefix + `", "rdmaHcaMax": 1, "selectors": {"drivers": ["x"]}}]}`
	}
	interval := func(seconds string) string {
		return `{"periodicUpdateInterval": ` + seconds + `, "configList": [{"resourceName": "a", "rdmaHcaMax": 1, "selectors": {"drivers": ["x"]}}]}`
	}
	units := func(number string) string {
		return `{"configList": [{"resourceName": "a", ` + number + `, "selectors": {"drivers": ["x"]}}]}`
	}
	long := strings.Repeat("a", 63)
	for _, tt := range []struct {
		file string
		ok   bool
	}{
		{resource("a-b_c.d", "rdma"), true},
		{resource(long, "rdma"), true},
		{resource(long+"a", "rdma"), false},
		{resource("A9", "rdma"), true},
		{resource("-a", "rdma"), false},
		{resource("a_", "rdma"), false},
		{resource("a b", "rdma"), false},
		{resource("a/b", "rdma"), false},
		{resource("a", "example.com"), true},
		{resource("a", long+".com"), true},
		{resource("a", long+"a.com"), false},
		{resource("a", "a-b.c"), true},
		{resource("a", "a_b.c"), false},
		{resource("a", "A.b"), false},
		{resource("a", "-a.b"), false},
		{resource("a", "a..b"), false},
		{resource("a", "kubernetes.io"), false},
		{resource("a", "x.kubernetes.io"), false},
		{resource("a", "xkubernetes.io"), true},
		{resource("a", "requests.x"), false},
		{resource("a", strings.Repeat("a.", 121)+"aa"), true}, // of 244 characters
		{resource("a", strings.Repeat("a.", 122)+"a"), false},
		{interval("0"), true},
		{interval("31536000"), true}, // a year
		{interval("31536001"), false},
		{interval("-1"), false},
		{units(`"rdmaHcaMax": 0`), true},
		{units(`"rdmaHcaMax": 100000`), true},
		{units(`"rdmaHcaMax": 100001`), false},
		{units(`"mode": "perDevice", "unitsPerDevice": 0`), false},
		{units(`"mode": "perDevice", "unitsPerDevice": 1`), true},
		{units(`"mode": "perDevice", "unitsPerDevice": 200`), true},
		{units(`"mode": "perDevice", "unitsPerDevice": 201`), false},
	} {
		if err := mistakes([]byte(tt.file)); (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.file, err)
		}
	}
}
