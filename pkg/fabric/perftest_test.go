package fabric

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
)

// The files are what perftest 25.01 of Debian 13 wrote in the lab.
func TestPerftestsReportIsRead(t *testing.T) {
	for file, want := range map[string]Measurement{
		writeLatency:   {Typical: 5012.65, Tail: 25747.74, MTU: 4096},
		readLatency:    {Typical: 3582.16, Tail: 15489.69, MTU: 4096},
		writeBandwidth: {Bandwidth: 0.077603, MTU: 4096},
	} {
		b, err := os.ReadFile("testdata/" + file + ".json")
		if err != nil {
			t.Fatal(err)
		}
		if have, err := parseMeasurement(b); err != nil || have != want {
			t.Errorf("%s: %+v, %v", file, have, err)
		}
	}
}

// A deviation is the root of a difference, which rounding may make negative.
func TestAFigureThatIsNoneCostsNoOther(t *testing.T) {
	for _, none := range []string{"-nan", "nan", "inf", "-inf"} {
		text := `{"test_info": {"Mtu": 4096}, "results": {"t_typical": 2.5, "t_stdev": ` + none + `,
"percentile_99": 3.5}}`
		if m, err := parseMeasurement([]byte(text)); err != nil || m.Typical != 2.5 || m.Tail != 3.5 {
			t.Errorf("%s: %+v, %v", none, m, err)
		}
	}
}

func TestAReportWithoutAResultIsAnError(t *testing.T) {
	for _, text := range []string{"", "{", `{"test_info": {"Mtu": 4096}}`, `{"results": {"BW_average": -nan}}`, `{"results": {"BW_average": 0.000000}}`, `{"results": {"t_typical": 0}}`} {
		if m, err := parseMeasurement([]byte(text)); err == nil {
			t.Errorf("%q is %+v", text, m)
		}
	}
}

func TestPerftestIsToldNICAndGIDAndTrafficClass(t *testing.T) {
	c := command{program: writeBandwidth, rail: Rail{Device: "mlx5_3", Port: 1, GIDIndex: 3}, port: 18518,
		load: Load{Iterations: 1000, Seconds: 3, Size: 65536, TrafficClass: 104, QPTimeout: 18}, server: netip.MustParseAddr("10.0.0.7")}
	const bandwidth = "-d mlx5_3 -i 1 -x 3 -p 18518 -u 18 --tclass=104 -F -D 3 -s 65536 --report_gbits"
	if have := strings.Join(c.args("report"), " "); have != bandwidth+" --out_json --out_json_file=report 10.0.0.7" {
		t.Errorf("client: %s", have)
	}
	c.serves = true
	if have := strings.Join(c.args("report"), " "); have != bandwidth {
		t.Errorf("server: %s", have)
	}
	c.program, c.server = writeLatency, netip.MustParseAddr("fd00::7")
	if have := c.args("report"); !slices.Contains(have, "--ipv6-addr") || !strings.Contains(strings.Join(have, " "), "-n 1000") || slices.Contains(have, "-D") {
		t.Errorf("latency over IPv6: %q", have)
	}
}

func TestWhatPerftestSaidLastIsWhyItFailed(t *testing.T) {
	const table = "\n****\n* Waiting for client to connect... *\n****\n-----\n  RDMA_Write Latency Test\n Mtu : 4096[B]\n-----\n"
	for said, want := range map[string]string{
		table + "Failed to modify QP 17 to RTR\n Unable to Connect the HCA's through the link\n":               "Failed to modify QP 17 to RTR; Unable to Connect the HCA's through the link",
		"Couldn't connect to 10.0.0.7:18515\nUnable to open file descriptor\n Unable to init the connection\n": "Couldn't connect to 10.0.0.7:18515; Unable to open file descriptor; Unable to init the connection",
		"one\ntwo\nthree\nfour\nfive\n":       "three; four; five",
		"-----\n* a remark\nCannot connect\n": "Cannot connect",
		"":                                    "exit status 1",
	} {
		if have := lastWords(said, errors.New("exit status 1")); have != want {
			t.Errorf("have %q\nwant %q", have, want)
		}
	}
}

func TestALoadThatPerftestWouldRefuseIsRefusedBefore(t *testing.T) {
	good := Load{Iterations: 5, Seconds: 1, Size: 1 << 23, TrafficClass: 255, QPTimeout: 31}
	if err := good.check(); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*Load){
		"4 is no iterations: use 5 to 1000000":  func(l *Load) { l.Iterations = 4 },
		"0 is no seconds: use 1 to 3600":        func(l *Load) { l.Seconds = 0 },
		"8388609 is no size: use 1 to 8388608":  func(l *Load) { l.Size++ },
		"256 is no traffic class: use 0 to 255": func(l *Load) { l.TrafficClass++ },
		"0 is no QP timeout: use 1 to 31":       func(l *Load) { l.QPTimeout = 0 },
	} {
		bad := good
		change(&bad)
		if err := bad.check(); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// Perftest's server listens by IPv6 for a client of that family (--ipv6-addr).
func TestAServerIsSeenToListenByEitherFamily(t *testing.T) {
	for _, address := range []string{"127.0.0.1:0", "[::1]:0"} {
		var l net.Listener
		port := 0
		for !strings.ContainsAny(fmt.Sprintf("%X", port), "ABCDEF") { // the table has hexadecimal numbers
			if l != nil {
				l.Close()
			}
			var err error
			if l, err = (&net.ListenConfig{}).Listen(t.Context(), "tcp", address); err != nil {
				t.Fatal(err)
			}
			port = l.Addr().(*net.TCPAddr).Port
		}
		if !listens(os.Getpid(), port) {
			t.Errorf("nobody listens at %s", l.Addr())
		}
		l.Close()
		if listens(os.Getpid(), port) {
			t.Errorf("somebody listens at %s still", l.Addr())
		}
	}
}
