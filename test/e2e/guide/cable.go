package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// pulled is the rail whose cable is pulled, counted from 0, and spared one of the
// others.
const (
	pulled = 2
	spared = 3
)

// pullCable pulls the cable of one rail at the node of the first pod, and plugs it
// again.
func (s *site) pullCable(ctx context.Context) error {
	p := s.pods[0]
	n, err := s.nodeOf(ctx, p)
	if err != nil {
		return err
	}
	if err := n.SetCable(ctx, pulled, false); err != nil {
		return err
	}
	show := fmt.Sprintf("ibdev2netdev; ip -br link show net%d", pulled+1)
	out, err := s.exec(ctx, p, s.awaitCarrier("0")+show+fmt.Sprintf("; ping -c 1 -W 2 -I net%d %s >/dev/null && echo it passes; true", pulled+1, s.pods[1].rails[pulled].address))
	s.shell("root@"+p.name+":/#", show, out)
	if err == nil && strings.Contains(out, "it passes") {
		err = errors.New("a ping passes")
	}
	s.check(fmt.Sprintf("net%d of %s has no carrier, and nothing passes", pulled+1, p.name), err)
	s.check(fmt.Sprintf("ib_read_lat passes on rail %d all the same", spared+1), s.passes(ctx, spared))
	s.check("rdma/hca_gpu: 8 on "+n.Name, s.awaitCount(ctx, n, "8"))
	if err := n.SetCable(ctx, pulled, true); err != nil {
		return err
	}
	_, err = s.exec(ctx, p, s.awaitCarrier("1"))
	s.check("plugged again, it has a carrier", err)
	s.check(fmt.Sprintf("ib_read_lat passes on rail %d again", pulled+1), s.passes(ctx, pulled))
	return nil
}

// awaitCarrier is a script that waits for the pulled rail's carrier, for a minute.
func (s *site) awaitCarrier(want string) string {
	return fmt.Sprintf("for try in {1..300}; do [[ $(</sys/class/net/net%d/carrier) == %s ]] && break; sleep 0.2; done; [[ $try != 300 ]] || exit 1; ", pulled+1, want)
}

func (s *site) passes(ctx context.Context, rail int) error {
	readings, err := s.read(ctx, rail)
	if err != nil {
		return err
	}
	return hasResult(readings[0].client)
}
