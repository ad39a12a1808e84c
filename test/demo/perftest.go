package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
)

// A perftest is one of the programs that the guide tests with.
type perftest struct {
	program    string
	iterations int
	port       int // of rail 0
	column     int // of the result's line: the number to show
	unit       string
}

// commandLine is the program's, without the server's address. It waits longer
// for a lost packet than by default: the machine may be busy.
func (t perftest) commandLine(rail int, e endpoint) string {
	return fmt.Sprintf("%s -d %s -x %s -n %d -u 18 -p %d", t.program, e.device, e.gid, t.iterations, t.port+rail)
}

// A perftestServer waits for one client, and ends.
type perftestServer struct {
	command *exec.Cmd
	cancel  context.CancelFunc
	out     bytes.Buffer
	port    int
	ended   chan struct{}
	err     error // once it has ended
}

func (p *pod) serve(ctx context.Context, t perftest, rail int, e endpoint) (*perftestServer, error) {
	ctx, cancel := context.WithCancel(ctx)
	server := &perftestServer{cancel: cancel, port: t.port + rail, ended: make(chan struct{})}
	server.command = p.command(ctx, t.commandLine(rail, e))
	server.command.Stdout, server.command.Stderr = &server.out, &server.out
	if err := server.command.Start(); err != nil {
		cancel()
		return nil, err
	}
	go func() {
		server.err = server.command.Wait()
		close(server.ended)
	}()
	return server, nil
}

// ready returns once the server listens.
func (s *perftestServer) ready(ctx context.Context) error {
	return eventually(ctx, func() error {
		select {
		case <-s.ended:
			return nil // the client will find out
		default:
		}
		for _, table := range []string{"tcp", "tcp6"} {
			// Local address, any remote address, state LISTEN.
			b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", s.command.Process.Pid, table))
			if regexp.MustCompile(fmt.Sprintf(`:%04X [0-9A-F]+:0000 0A `, s.port)).Match(b) {
				return nil
			}
		}
		return fmt.Errorf("the server does not listen on port %d", s.port)
	})
}

// measure runs a client and returns the number of interest and all that it
// printed. Both ends must succeed, with as many iterations as requested.
func (p *pod) measure(ctx context.Context, t perftest, line string, server *perftestServer) (number, out string, err error) {
	if server == nil {
		return "", "", fmt.Errorf("%s: not both pods have an RDMA device", t.program)
	}
	defer server.cancel()
	if err := server.ready(ctx); err != nil {
		return "", "", err
	}
	if out, err = p.run(ctx, line); err != nil {
		server.cancel()
		<-server.ended
		return "", "", fmt.Errorf("%w\nthe server: %s", err, strings.TrimSpace(server.out.String()))
	}
	if err := eventually(ctx, func() error {
		select {
		case <-server.ended:
			return nil
		default:
			return fmt.Errorf("the server of %s does not end", t.program)
		}
	}); err != nil {
		return "", out, err
	}
	if server.err != nil {
		return "", out, fmt.Errorf("the server of %s: %w\n%s", t.program, server.err, strings.TrimSpace(server.out.String()))
	}
	values := resultLine(out)
	if len(values) <= t.column || values[1] != fmt.Sprint(t.iterations) {
		return "", out, fmt.Errorf("%s printed no result of %d iterations:\n%s", line, t.iterations, out)
	}
	return values[t.column] + " " + t.unit, out, nil
}

// resultLine are the numbers below the line that begins with #bytes.
func resultLine(out string) []string {
	all := strings.Split(out, "\n")
	i := slices.IndexFunc(all, func(line string) bool { return strings.HasPrefix(strings.TrimSpace(line), "#bytes") })
	if i < 0 || i+1 >= len(all) {
		return nil
	}
	return strings.Fields(all[i+1])
}

// banner is what a server prints while it waits: the lines in asterisks.
func banner(out string) string {
	return strings.Join(regexp.MustCompile(`(?m)^\*.*\*$`).FindAllString(out, -1), "\n")
}

// compact expands tabs, and collapses the blanks of long lines: perftest's
// table is wider than a terminal.
func compact(out string) string {
	var lines []string
	for line := range strings.SplitSeq(out, "\n") {
		for {
			before, after, found := strings.Cut(line, "\t")
			if !found {
				break
			}
			line = before + strings.Repeat(" ", 8-len(before)%8) + after
		}
		line = strings.TrimRight(line, " ")
		if len(line) > width {
			line = regexp.MustCompile(` {2,}`).ReplaceAllString(line, "  ")
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}
