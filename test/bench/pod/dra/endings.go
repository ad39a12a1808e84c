package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// An ending is a way in which a pod with NICs ends.
type ending struct {
	title string
	// before does something to the pod that runs, or to the node. What it returns,
	// if it is not nil, is to be done when the pod has been deleted for a while.
	before func(context.Context, *site, driver) (after func(context.Context) error, err error)
	asNew  bool // the NICs are others then
}

func endings() []ending {
	return []ending{
		{title: "the pod ends", before: nothing},
		{title: "the pod renamed its NICs, changed MTU and alias, took addresses away", before: changes},
		{title: "the driver is killed and is back, the pod ends", before: killed},
		{title: "the driver is killed again and again while the pod ends", before: keptDown},
		{title: "containerd is killed and is back, the pod ends", before: runtimeKilled},
		{title: "the node loses power", before: powerLost, asNew: true},
	}
}

// What came of an ending.
type outcome struct {
	before, after nics
	down          nics // while the driver was away, if it was
	next          nics // what the next pod had
}

// end starts a pod, has it end in that way, and starts another.
func (s *site) end(ctx context.Context, d driver, e ending) (o outcome, err error) {
	ctx, cancel := context.WithTimeout(ctx, 3*patience)
	defer cancel()
	var pod string
	if o.before, pod, err = s.full(ctx, d); err != nil {
		return o, err
	}
	after, err := e.before(ctx, s, d)
	if err != nil {
		return o, err
	}
	if err := s.Delete(ctx, pod); err != nil {
		return o, err
	}
	if after != nil {
		if o.down, err = s.settled(ctx, o.before); err != nil {
			return o, err
		}
		if err := after(ctx); err != nil {
			return o, err
		}
	}
	if _, err := s.Gone(ctx, pod); err != nil {
		return o, err
	}
	if o.after, err = s.settled(ctx, o.before); err != nil {
		return o, err
	}
	if err := s.served(ctx, d); err != nil {
		return o, err
	}
	if e.asNew {
		if _, err := s.ready(ctx, d); err != nil {
			return o, err
		}
	}
	pod, _, o.next, err = s.start(ctx, d)
	if err == nil {
		_, err = s.Remove(ctx, pod)
	}
	return o, err
}

// full starts a pod that has all NICs, and says how they were before. One that a
// driver gives fewer is not the one whose end is to be looked at; the pods in a row
// count those.
func (s *site) full(ctx context.Context, d driver) (before nics, pod string, err error) {
	for range 5 {
		if before, err = s.ready(ctx, d); err != nil {
			return nil, "", err
		}
		pod, _, has, err := s.start(ctx, d)
		if err != nil || len(has) == rails {
			return before, pod, err
		}
		fmt.Fprintf(os.Stderr, "%s: a pod has %d NICs, and makes way for the next\n", d.title, len(has))
		if _, err := s.Remove(ctx, pod); err != nil {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("%s: no pod has all NICs", d.title)
}

// settled are the NICs on the host once all are as before, or ten seconds later.
func (s *site) settled(ctx context.Context, before nics) (nics, error) {
	for until := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		now, err := s.ofHost(ctx)
		if err != nil || now.is(before) || time.Now().After(until) {
			return now, err
		}
	}
}

// served waits until a driver is here, and has its slice.
func (s *site) served(ctx context.Context, d driver) error {
	return cluster.Eventually(ctx, func() error {
		out, err := s.Kubectl(ctx, "get", "resourceslices", "--field-selector", "spec.driver="+d.name+",spec.nodeName="+s.node.Name, "-o", "name")
		if err == nil && out == "" {
			err = errors.New(d.title + " offers nothing")
		}
		if err == nil {
			_, err = s.node.Run(ctx, "pgrep -f '"+d.process+"'")
		}
		return err
	})
}

// returned waits until a driver is here again and has had the time to register.
func (s *site) returned(ctx context.Context, d driver) error {
	for range 2 { // one that is about to end looks as if it was here
		if err := s.served(ctx, d); err != nil {
			return err
		}
		time.Sleep(5 * time.Second)
	}
	return nil
}

func nothing(context.Context, *site, driver) (func(context.Context) error, error) { return nil, nil }

func changes(ctx context.Context, s *site, _ driver) (func(context.Context) error, error) {
	_, err := s.node.Run(ctx, `set -e
for pod in /run/netns/cni-*; do
	nsenter --net="$pod" bash -ec '
		i=0
		for nic in $(ip -o link | awk -F"[ :@]+" "/ 94:6d:ae:/ {print \$2}"); do
			ip link set "$nic" down
			ip link set "$nic" name "renamed$((i += 1))"
			ip link set "renamed$i" mtu 1400 alias of-the-pod up
			ip addr flush dev "renamed$i"
		done'
done`)
	return nil, err
}

func killed(ctx context.Context, s *site, d driver) (func(context.Context) error, error) {
	if _, err := s.node.Run(ctx, "kill -KILL $(pgrep -f '"+d.process+"')"); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	return nil, s.returned(ctx, d)
}

func keptDown(ctx context.Context, s *site, d driver) (func(context.Context) error, error) {
	loop, err := s.node.Run(ctx, fmt.Sprintf(`setsid bash -c 'while sleep 0.05; do pkill -KILL -f "$1"; done' bash '%s' </dev/null >/dev/null 2>&1 & echo $!`, d.process))
	if err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	return func(ctx context.Context) error {
		if _, err := s.node.Run(ctx, "kill "+strings.TrimSpace(loop)); err != nil {
			return err
		}
		// The kubelet waits longer each time; a new pod it starts at once.
		_, err := s.Kubectl(ctx, "delete", "pod", "-n", "kube-system", "-l", d.pods, "--field-selector", "spec.nodeName="+s.node.Name, "--grace-period", "1")
		return err
	}, nil
}

func runtimeKilled(ctx context.Context, s *site, d driver) (func(context.Context) error, error) {
	if err := s.node.KillContainerd(ctx); err != nil {
		return nil, err
	}
	time.Sleep(time.Second)
	return nil, s.returned(ctx, d)
}

func powerLost(ctx context.Context, s *site, d driver) (func(context.Context) error, error) {
	if err := cluster.LosePower(ctx, s.Nodes[0], s.Nodes[1]); err != nil {
		return nil, err
	}
	return nil, s.served(ctx, d)
}
