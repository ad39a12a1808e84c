package rdma

import "testing"

func TestThePacketOfRoCEIsTheLargestThatFits(t *testing.T) {
	for ethernet, want := range map[int]int{9000: 4096, 4200: 4096, 4192: 4096, 4191: 2048, 1500: 1024, 1120: 1024, 576: 256, 300: 0} {
		if have := ActiveMTU(ethernet); have != want {
			t.Errorf("MTU %d: %d, want %d", ethernet, have, want)
		}
	}
}

func TestTheRateOfAPortIsInBits(t *testing.T) {
	for text, want := range map[string]float64{"400 Gb/sec (4X NDR)": 400e9, "2.5 Gb/sec (1X SDR)": 2.5e9, "": 0, "unknown": 0} {
		if have := parseRate(text); have != want {
			t.Errorf("%q: %v, want %v", text, have, want)
		}
	}
}
