package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// pulled is the rail whose cable is pulled, counted from 0.
const pulled = 2

// pullCable pulls the cable of one rail at the first node, and plugs it again.
func (s *site) pullCable(ctx context.Context) error {
	p := s.pods[0]
	if err := s.nodes[0].SetCable(ctx, pulled, false); err != nil {
		return err
	}
	s.check(fmt.Sprintf("net%d of %s has no carrier", pulled+1, p.name), s.awaitCarrier(ctx, p, "0"))
	out, err := s.exec(ctx, p, "ibdev2netdev; ip -br link show "+fmt.Sprintf("net%d", pulled+1))
	if err != nil {
		return err
	}
	s.shell("root@"+p.name+":/#", fmt.Sprintf("ibdev2netdev; ip -br link show net%d", pulled+1), out)
	_, err = s.exec(ctx, p, fmt.Sprintf("ping -c 1 -W 2 -I net%d %s", pulled+1, s.pods[1].rails[pulled].address))
	if err == nil {
		err = errors.New("it passes")
	} else {
		err = nil
	}
	s.check(fmt.Sprintf("nothing passes on rail %d", pulled+1), err)
	_, _, err = s.readOver(ctx, pulled+1)
	s.check(fmt.Sprintf("ib_read_lat passes on rail %d all the same", pulled+2), err)
	s.check("rdma/hca_gpu: 8 on node1", s.awaitCount(ctx, s.nodes[0], "8"))
	if err := s.nodes[0].SetCable(ctx, pulled, true); err != nil {
		return err
	}
	s.check("plugged again, it has a carrier", s.awaitCarrier(ctx, p, "1"))
	_, _, err = s.readOver(ctx, pulled)
	s.check(fmt.Sprintf("ib_read_lat passes on rail %d again", pulled+1), err)
	return nil
}

func (s *site) awaitCarrier(ctx context.Context, p *pod, want string) error {
	return cluster.Eventually(ctx, func() error {
		have, err := s.exec(ctx, p, fmt.Sprintf("cat /sys/class/net/net%d/carrier", pulled+1))
		if err == nil && strings.TrimSpace(have) != want {
			err = errors.New("carrier " + have)
		}
		return err
	})
}
