package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
)

const rails = 8

// A pod is one of the guide's, with what was seen in it.
type pod struct {
	name  string
	rails [rails]rail
}

// A rail is a NIC in a pod.
type rail struct{ device, address, gid string }

func (s *site) exec(ctx context.Context, p *pod, script string) (string, error) {
	return s.Kubectl(ctx, "exec", p.name, "--", "bash", "-c", script)
}

// separator stands between the outputs of commands: to run one in a pod takes a
// runtime with an emulated processor half a minute, however small it is.
const separator = "=====\n"

// listGIDs prints device, index and type of each GID that an IPv4 address has.
const listGIDs = `
for gid in /sys/class/infiniband/*/ports/1/gids/{?,1?}; do
  read -r value <$gid
  [[ $value == *:ffff:* ]] || continue
  index=${gid##*/} port=${gid%/gids/*}
  device=${port%/ports/1}
  echo "${device##*/} $index $value $(<$port/gid_attrs/types/$index)"
done`

// lookIntoPods looks at the interfaces that the guide's networks give each pod.
func (s *site) lookIntoPods(ctx context.Context) error { return s.lookInto(ctx, "net") }

// lookInto runs the guide's two commands in each pod and compares them with the
// interfaces that the rails are to be: prefix and number, each in a subnet of its
// own.
func (s *site) lookInto(ctx context.Context, prefix string) error {
	for _, p := range s.pods {
		out, err := s.exec(ctx, p, "ibdev2netdev; echo -n '"+separator+"'; ip a; echo -n '"+separator+"'; "+listGIDs)
		if err != nil {
			return err
		}
		parts := strings.Split(out, separator)
		if len(parts) != 3 {
			return errors.New(out)
		}
		devices, links, gids := parts[0], parts[1], parts[2]
		s.shell("root@"+p.name+":/#", "ibdev2netdev", devices)
		s.shell("root@"+p.name+":/#", "ip a", links)
		for i := range p.rails {
			name, addresses := fmt.Sprintf("%s%d", prefix, i+1), fmt.Sprintf("172.31.%d.x/24", i+1)
			p.rails[i], err = readRail(name, addresses, devices, links, gids)
			s.check(fmt.Sprintf("%s: %s, up, MTU 9000, %s, with an RDMA device and a RoCE v2 GID", p.name, name, addresses), err)
		}
		if seen := strings.Count(devices, "\n"); seen != rails {
			err = fmt.Errorf("%d", seen)
		}
		s.check(p.name+": eight RDMA devices with a netdev", err)
	}
	return nil
}

// readRail finds a rail in what the guide's commands print. An x in the addresses
// stands for any number.
func readRail(name, addresses, devices, links, gids string) (rail, error) {
	device := regexp.MustCompile(fmt.Sprintf(`(?m)^(\S+) port 1 ==> %s \(Up\)$`, name)).FindStringSubmatch(devices)
	if device == nil {
		return rail{}, errors.New("no RDMA device")
	}
	link := regexp.MustCompile(fmt.Sprintf(`(?m)^\d+: %s: <[A-Z_,]*UP,LOWER_UP> mtu 9000 .*\n(?:    .*\n)*`, name)).FindString(links)
	if link == "" {
		return rail{}, errors.New("not up with MTU 9000")
	}
	host, length, _ := strings.Cut(addresses, "/")
	pattern := strings.ReplaceAll(regexp.QuoteMeta(host), "x", `\d+`)
	address := regexp.MustCompile(fmt.Sprintf(`inet (%s)/%s `, pattern, length)).FindStringSubmatch(link)
	if address == nil {
		return rail{}, errors.New("no address")
	}
	a := netip.MustParseAddr(address[1]).As4()
	gid := regexp.MustCompile(fmt.Sprintf(`(?m)^%s (\d+) \S+:%02x%02x:%02x%02x RoCE v2$`, regexp.QuoteMeta(device[1]), a[0], a[1], a[2], a[3])).FindStringSubmatch(gids)
	if gid == nil {
		return rail{}, errors.New("no RoCE v2 GID for " + address[1])
	}
	return rail{device[1], address[1], gid[1]}, nil
}

// A reading is what ib_read_lat said at both ends of a rail.
type reading struct{ server, client string }

// traffic reads one pod's memory from the other over each rail.
func (s *site) traffic(ctx context.Context) error {
	fmt.Fprintf(&s.text, "The guide lets ib_read_lat choose; with eight devices each rail is named, and has a port of its own. The processor is emulated: latencies here say nothing.\n\n")
	readings, err := s.read(ctx, 0, 1, 2, 3, 4, 5, 6, 7)
	if err != nil {
		return err
	}
	s.shell("root@"+s.pods[0].name+":/#", s.readCommand(0, 0), readings[0].server)
	s.shell("root@"+s.pods[1].name+":/#", s.readCommand(1, 0)+" "+s.pods[0].rails[0].address, readings[0].client)
	for i, r := range readings {
		s.check(fmt.Sprintf("rail %d: ib_read_lat from %s to %s", i+1, s.pods[1].rails[i].address, s.pods[0].rails[i].address), hasResult(r.client))
	}
	return nil
}

// readCommand is a pod's ib_read_lat over a rail, without the server's address.
// A lost packet is waited for longer than by default.
func (s *site) readCommand(pod, i int) string {
	r := s.pods[pod].rails[i]
	return fmt.Sprintf("ib_read_lat -d %s -x %s -n 100 -u 18 -p %d", r.device, r.gid, 18515+i)
}

// read runs ib_read_lat over rails: servers in the first pod and clients, one
// after another, in the second. One that gets no answer says so in its output.
func (s *site) read(ctx context.Context, numbers ...int) ([]reading, error) {
	var servers, clients, show strings.Builder
	for _, i := range numbers {
		fmt.Fprintf(&servers, "timeout 300 %s >/tmp/server%d 2>&1 &\n", s.readCommand(0, i), i)
		fmt.Fprintf(&show, "cat /tmp/server%d; echo -n '%s'\n", i, separator)
		fmt.Fprintf(&clients, "for try in {1..40}; do timeout 60 %s %s >/tmp/client 2>&1 && break; sleep 1; done; cat /tmp/client; echo -n '%s'\n",
			s.readCommand(1, i), s.pods[0].rails[i].address, separator)
	}
	type answer struct {
		out string
		err error
	}
	served := make(chan answer, 1)
	go func() {
		out, err := s.exec(ctx, s.pods[0], servers.String()+"wait\n"+show.String())
		served <- answer{out, err}
	}()
	out, err := s.exec(ctx, s.pods[1], clients.String())
	server := <-served
	if err := errors.Join(err, server.err); err != nil {
		return nil, err
	}
	clientParts, serverParts := strings.Split(out, separator), strings.Split(server.out, separator)
	if len(clientParts) <= len(numbers) || len(serverParts) <= len(numbers) {
		return nil, errors.New(out + server.out)
	}
	readings := make([]reading, len(numbers))
	for k := range numbers {
		readings[k] = reading{serverParts[k], clientParts[k]}
	}
	return readings, nil
}

// hasResult tells whether ib_read_lat got its hundred answers. How long they took
// is inf where it could not tell the processor's clock, as an emulated one's now
// and then.
func hasResult(output string) error {
	if !regexp.MustCompile(`(?m)^ *2 +100 +(\d+\.\d+|inf)`).MatchString(output) {
		return errors.New("no result: " + output)
	}
	return nil
}
