package fabric

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// The programs of perftest that are run.
const (
	writeLatency   = "ib_write_lat"
	readLatency    = "ib_read_lat"
	writeBandwidth = "ib_write_bw"
)

// Load says how a NIC is tested: the same on both sides.
type Load struct {
	// ReadLatency measures latency by reads, not writes.
	ReadLatency bool `json:"readLatency"`
	// Iterations of the latency.
	Iterations int `json:"iterations"`
	// Seconds and Size, in bytes, of the bandwidth.
	Seconds int `json:"seconds"`
	Size    int `json:"size"`
	// TrafficClass is the byte of the IP header that has the DSCP.
	TrafficClass int `json:"trafficClass"`
	// QPTimeout is how long the NIC waits for an acknowledgement: 4.096 µs times
	// two to the power of it.
	QPTimeout int `json:"qpTimeout"`
}

func (l Load) check() error {
	for _, limit := range []struct {
		what          string
		value, lo, hi int
	}{
		{"iterations", l.Iterations, 5, 1e6},
		{"seconds", l.Seconds, 1, 3600},
		{"size", l.Size, 1, 1 << 23},
		{"traffic class", l.TrafficClass, 0, 255},
		{"QP timeout", l.QPTimeout, 1, 31},
	} {
		if limit.value < limit.lo || limit.value > limit.hi {
			return fmt.Errorf("%d is no %s: use %d to %d", limit.value, limit.what, limit.lo, limit.hi)
		}
	}
	return nil
}

// A command is one side of one run of perftest.
type command struct {
	program string
	rail    Rail
	load    Load
	port    int // TCP
	// server is what the client connects to. Both sides need to know its family;
	// serves tells which side this is.
	server netip.Addr
	serves bool
}

// args are perftest's. What the sides tell each other over TCP goes the way that
// the address leads; the data goes from NIC to NIC.
func (c command) args(report string) []string {
	args := []string{
		"-d", c.rail.Device, "-i", strconv.Itoa(c.rail.Port), "-x", strconv.Itoa(c.rail.GIDIndex),
		"-p", strconv.Itoa(c.port), "-u", strconv.Itoa(c.load.QPTimeout), "--tclass=" + strconv.Itoa(c.load.TrafficClass),
		"-F", // the governor of the processor's frequency is not the fabric's matter
	}
	if c.program == writeBandwidth {
		args = append(args, "-D", strconv.Itoa(c.load.Seconds), "-s", strconv.Itoa(c.load.Size), "--report_gbits")
	} else {
		args = append(args, "-n", strconv.Itoa(c.load.Iterations))
	}
	if c.server.Is6() {
		args = append(args, "--ipv6-addr")
	}
	if c.serves {
		return args
	}
	return append(args, "--out_json", "--out_json_file="+report, c.server.String())
}

// A Measurement is what perftest's client reports.
type Measurement struct {
	// Typical and Tail are the latency's median and 99th percentile, in µs.
	Typical float64 `json:"typical,omitempty"`
	Tail    float64 `json:"tail,omitempty"`
	// Bandwidth is the average, in Gbit/s.
	Bandwidth float64 `json:"bandwidth,omitempty"`
	// MTU is the packet that the sides agreed on.
	MTU int `json:"mtu,omitempty"`
}

// parseMeasurement reads the file of --out_json, as perftest 25.01 writes it
// (print_full_bw_report and write_test_info_to_file in perftest_parameters.c).
func parseMeasurement(report []byte) (m Measurement, err error) {
	var r struct {
		Info struct {
			MTU int `json:"Mtu"`
		} `json:"test_info"`
		Results struct {
			Typical   *float64 `json:"t_typical"`
			Tail      float64  `json:"percentile_99"`
			Bandwidth *float64 `json:"BW_average"`
		} `json:"results"`
	}
	// Printed by %lf: what cannot be computed, a deviation or a rate, is no JSON.
	report = regexp.MustCompile(`:\s*-?(nan|inf)\b`).ReplaceAll(report, []byte(": null"))
	if err := json.Unmarshal(report, &r); err != nil {
		return m, fmt.Errorf("perftest's report: %w", err)
	}
	m.MTU, m.Tail = r.Info.MTU, r.Results.Tail
	switch {
	case r.Results.Typical != nil && *r.Results.Typical > 0:
		m.Typical = *r.Results.Typical
	case r.Results.Bandwidth != nil && *r.Results.Bandwidth > 0:
		m.Bandwidth = *r.Results.Bandwidth
	case r.Results.Bandwidth != nil:
		// Of a time it measures the middle (--margin).
		return m, errors.New("no message was done in the time of the bandwidth: it is too short, or nearly nothing arrives")
	default:
		return m, errors.New("perftest's report has no result")
	}
	return m, nil
}

// run runs one side to its end and calls listening once a server can be
// connected to. The error says in perftest's own words why it failed.
func (c command) run(ctx context.Context, folder string, listening func()) (m Measurement, err error) {
	path := c.program
	if folder != "" {
		path = filepath.Join(folder, c.program)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		return m, err
	}
	defer reader.Close()
	cmd := exec.CommandContext(ctx, path, c.args("/dev/fd/3")...) // the first of ExtraFiles
	cmd.ExtraFiles = []*os.File{writer}
	cmd.WaitDelay = time.Second
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Start()
	_ = writer.Close()
	if err != nil {
		return m, err
	}
	ended, cancel := context.WithCancel(ctx)
	if c.serves {
		go func() {
			if retry.Until(ended, time.Millisecond, 50*time.Millisecond, func() (bool, error) { return listens(cmd.Process.Pid, c.port), nil }) == nil {
				listening()
			}
		}()
	}
	err = cmd.Wait()
	cancel()
	switch {
	case ctx.Err() != nil:
		return m, context.Cause(ctx)
	case err != nil:
		return m, fmt.Errorf("%s: %s", c.program, lastWords(said.String(), err))
	case c.serves:
		return m, nil
	}
	// A report is shorter than what a pipe holds (pipe(7): 64 KiB).
	report, err := io.ReadAll(reader)
	if err != nil {
		return m, err
	}
	return parseMeasurement(report)
}

// listens tells whether something listens on a TCP port of a process's network.
// Asking by connecting would use up the server's only client.
func listens(pid, port int) bool {
	for _, table := range []string{"tcp", "tcp6"} {
		b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		for line := range strings.Lines(string(b)) {
			// Number, local address, remote address, state: 0A is LISTEN.
			f := strings.Fields(line)
			if len(f) > 3 && f[3] == "0A" && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
				return true
			}
		}
	}
	return false
}

// lastWords are what a program of perftest said below its table of parameters, in
// one line.
func lastWords(said string, err error) string {
	var words []string
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "---"):
			words = nil
		case line != "" && !strings.HasPrefix(line, "*"):
			words = append(words, line)
		}
	}
	if len(words) == 0 {
		return err.Error()
	}
	return strings.Join(words[max(0, len(words)-3):], "; ")
}
