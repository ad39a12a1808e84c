package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
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

// lookIntoPods runs the guide's two commands in each pod and compares.
func (s *site) lookIntoPods(ctx context.Context) error {
	for _, p := range s.pods {
		prompt := "root@" + p.name + ":/#"
		devices, err := s.exec(ctx, p, "ibdev2netdev")
		if err != nil {
			return err
		}
		s.shell(prompt, "ibdev2netdev", devices)
		links, err := s.exec(ctx, p, "ip a")
		if err != nil {
			return err
		}
		s.shell(prompt, "ip a", links)
		for i := range p.rails {
			p.rails[i], err = readRail(i+1, devices, links)
			s.check(fmt.Sprintf("%s: net%d, up, MTU 9000, 172.31.%d.x/24, with an RDMA device", p.name, i+1, i+1), err)
		}
		seen := strings.Count(devices, "\n")
		if seen != rails {
			err = fmt.Errorf("%d", seen)
		}
		s.check(p.name+": eight RDMA devices with a netdev", err)
	}
	return nil
}

// readRail finds a rail in what the guide's commands print.
func readRail(number int, devices, links string) (rail, error) {
	device := regexp.MustCompile(fmt.Sprintf(`(?m)^(\S+) port 1 ==> net%d \(Up\)$`, number)).FindStringSubmatch(devices)
	if device == nil {
		return rail{}, errors.New("no RDMA device")
	}
	link := regexp.MustCompile(fmt.Sprintf(`(?m)^\d+: net%d: <[A-Z_,]*UP,LOWER_UP> mtu 9000 .*\n(?:    .*\n)*`, number)).FindString(links)
	if link == "" {
		return rail{}, errors.New("not up with MTU 9000")
	}
	address := regexp.MustCompile(fmt.Sprintf(`inet (172\.31\.%d\.\d+)/24 `, number)).FindStringSubmatch(link)
	if address == nil {
		return rail{}, errors.New("no address")
	}
	return rail{device: device[1], address: address[1]}, nil
}

// findGID prints the index of an address's RoCE v2 GID.
const findGID = `
cd /sys/class/infiniband/%s/ports/1
for index in {0..31}; do
  [[ $(<gids/$index) == *:ffff:$(printf %%02x%%02x:%%02x%%02x %s) && $(<gid_attrs/types/$index) == 'RoCE v2' ]] && echo $index && exit
done 2>/dev/null
exit 1`

func (s *site) findGID(ctx context.Context, p *pod, i int) error {
	r := &p.rails[i]
	out, err := s.exec(ctx, p, fmt.Sprintf(findGID, r.device, strings.ReplaceAll(r.address, ".", " ")))
	r.gid = strings.TrimSpace(out)
	return err
}

// traffic reads one pod's memory from the other over each rail.
func (s *site) traffic(ctx context.Context) error {
	fmt.Fprintf(&s.text, "The guide lets ib_read_lat choose; with eight devices each rail is named. The processor is emulated: latencies here say nothing.\n\n")
	for i := range rails {
		server, client, err := s.readOver(ctx, i)
		if i == 0 {
			s.shell("root@"+s.pods[0].name+":/#", s.readCommand(0, i), server)
			s.shell("root@"+s.pods[1].name+":/#", s.readCommand(1, i)+" "+s.pods[0].rails[i].address, client)
		}
		s.check(fmt.Sprintf("rail %d: ib_read_lat from %s to %s", i+1, s.pods[1].rails[i].address, s.pods[0].rails[i].address), err)
	}
	return nil
}

// readCommand is a pod's ib_read_lat over a rail, without the server's address.
// A lost packet is waited for longer than by default.
func (s *site) readCommand(pod, i int) string {
	r := s.pods[pod].rails[i]
	return fmt.Sprintf("ib_read_lat -d %s -x %s -n 100 -u 18", r.device, r.gid)
}

// readOver runs ib_read_lat over a rail: a server in the first pod and a client
// in the second.
func (s *site) readOver(ctx context.Context, i int) (server, client string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for _, p := range s.pods {
		if err := s.findGID(ctx, p, i); err != nil {
			return "", "", fmt.Errorf("%s: GID of %s: %w", p.name, p.rails[i].address, err)
		}
	}
	served := make(chan error, 1)
	go func() {
		var err error
		server, err = s.exec(ctx, s.pods[0], "timeout 80 "+s.readCommand(0, i))
		served <- err
	}()
	line := fmt.Sprintf("timeout 30 %s %s", s.readCommand(1, i), s.pods[0].rails[i].address)
	err = cluster.Eventually(ctx, func() (err error) { // until the server listens
		client, err = s.exec(ctx, s.pods[1], line)
		return err
	})
	if err != nil {
		return "", client, err
	}
	if err := <-served; err != nil {
		return server, client, err
	}
	return server, client, hasResult(client)
}

// hasResult tells whether ib_read_lat measured something.
func hasResult(output string) error {
	if !regexp.MustCompile(`(?m)^ *2 +100 +\d+\.\d+`).MatchString(output) {
		return errors.New("no result: " + output)
	}
	return nil
}
