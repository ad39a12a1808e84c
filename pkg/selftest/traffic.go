package selftest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strconv"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/pkg/retry"
)

// Addresses of the pods: from the network for benchmarks between devices
// (RFC 2544), which nobody routes.
const (
	firstAddress  = "198.18.0.1/30"
	secondAddress = "198.18.0.2/30"
	port          = 18515
)

const (
	// pathWait is how long a packet may take from one NIC to the other: a switch
	// may learn where they are, and a link come up, before.
	pathWait = 10 * time.Second
	// trafficWait bounds a program that makes RDMA traffic.
	trafficWait = 30 * time.Second
)

// exchange sends packets from one pod to another until one is answered. NICs on
// different networks have no way to each other: that is no failure.
func exchange(ctx context.Context, server, client *pod) error {
	ctx, cancel := context.WithTimeout(ctx, pathWait)
	defer cancel()
	in, err := listen(server)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	go echo(in)
	out, err := dial(client, server.address)
	if err != nil {
		return err
	}
	defer func() { _ = out.Close() }()
	answers := func() bool {
		_ = out.SetDeadline(time.Now().Add(500 * time.Millisecond))
		_, err := out.Write([]byte(network))
		if err == nil {
			_, err = out.Read(make([]byte, len(network)))
		}
		return err == nil // a link that is not up yet refuses
	}
	err = retry.Until(ctx, time.Millisecond, time.Millisecond, func() (bool, error) { return answers(), nil })
	if errors.Is(err, context.DeadlineExceeded) {
		return skip(fmt.Sprintf("no packet came from %s to %s in %s: are they on one network?", client.nic.name, server.nic.name, pathWait))
	}
	return err
}

func listen(p *pod) (conn net.PacketConn, err error) {
	err = p.ns.Do(func() error {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(p.address, port)))
		return err
	})
	return conn, err
}

func dial(p *pod, to netip.Addr) (conn net.Conn, err error) {
	err = p.ns.Do(func() error {
		conn, err = net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, port)))
		return err
	})
	return conn, err
}

// echo answers until the connection is closed.
func echo(conn net.PacketConn) {
	b := make([]byte, len(network))
	for {
		n, from, err := conn.ReadFrom(b)
		if err != nil {
			return
		}
		_, _ = conn.WriteTo(b[:n], from)
	}
}

// pingpong has a program that the node has make RDMA traffic between two pods.
func pingpong(ctx context.Context, dev string, server, client *pod) error {
	ctx, cancel := context.WithTimeout(ctx, trafficWait)
	defer cancel()
	from, to, err := commands(dev, server, client)
	if err != nil {
		return err
	}
	var serverErr error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		serverErr = server.run(ctx, from[0], from[1:]...)
	}()
	// Until the server listens a client ends at once, and the server never hears
	// of it.
	var clientErr error
	_ = retry.Until(ctx, 100*time.Millisecond, time.Second, func() (bool, error) {
		clientErr = client.run(ctx, to[0], to[1:]...)
		select {
		case <-ended:
			return true, nil
		default:
			return clientErr == nil, nil
		}
	})
	<-ended
	if clientErr != nil && ctx.Err() != nil {
		return clientErr // the server was ended
	}
	return errors.Join(clientErr, serverErr)
}

// commands are those of the two sides. ibv_rc_pingpong does without the
// connection manager; rping finds device and GID itself.
func commands(dev string, server, client *pod) (from, to []string, err error) {
	if _, err := exec.LookPath("ibv_rc_pingpong"); err == nil {
		for p, command := range map[*pod]*[]string{server: &from, client: &to} {
			name, index, err := p.gid(dev)
			if err != nil {
				return nil, nil, err
			}
			*command = []string{"ibv_rc_pingpong", "-p", strconv.Itoa(port), "-d", name, "-g", strconv.Itoa(index), "-n", "100"}
		}
		return from, append(to, server.address.String()), nil
	}
	if _, err := exec.LookPath("rping"); err == nil {
		common := []string{"rping", "-p", strconv.Itoa(port), "-C", "10", "-a", server.address.String()}
		return append(common, "-s"), append(common[:len(common):len(common)], "-c"), nil
	}
	return nil, nil, skip("neither ibv_rc_pingpong (ibverbs-utils, libibverbs-utils) nor rping is installed")
}

// gid is what the pod's RDMA device is called there, and the index of its
// address.
func (p *pod) gid(dev string) (device string, index int, err error) {
	link, err := p.rdma()
	if err != nil {
		return "", 0, err
	}
	node, done, err := rdma.NodeIn(p.ns.NS, dev)
	if err != nil {
		return "", 0, err
	}
	defer done()
	_, index, ok := node.GIDIndex(link.Name, p.address)
	if !ok {
		return "", 0, fmt.Errorf("%s has no RoCE v2 GID for the pod's address", link.Name)
	}
	return link.Name, index, nil
}

// rdma is the NIC's RDMA device as the pod sees it.
func (p *pod) rdma() (rdma.Link, error) {
	subsystem, err := rdma.Open(p.ns.NS)
	if err != nil {
		return rdma.Link{}, err
	}
	defer subsystem.Close()
	link, ok, err := subsystem.Find(*p.nic.device)
	if err == nil && !ok {
		err = fmt.Errorf("%w %s in the pod", rdma.ErrNoDevice, p.nic.device.Name)
	}
	return link, err
}
