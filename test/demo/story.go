package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"
)

// A story is the demonstration: what happens, to whom, in which order.
type story struct {
	*report
	mode     string
	programs string // the folder of the programs to show
	machine  place
	networks []network // the guide's NADs
	nodes    []*node
	pods     []*pod
	runtime  *cniRuntime
	ipam     *ipam
	before   []nic // the NICs before anything was moved
}

// tell tells the story from its beginning and returns an error unless all of
// it held.
func tell(ctx context.Context, r *report, mode, programs string) error {
	s, err := newStory(r, mode, programs)
	if err != nil {
		return err
	}
	defer s.end()
	chapters := []struct {
		title string
		vital bool // without it there is no point in going on
		tell  func(context.Context) error
	}{
		{"The node", true, s.theNode},
		{"The device plugin", false, s.theDevicePlugin},
		{"Two pods, 8 rails each", false, s.thePods},
		{"Inside the pods", false, s.insideThePods},
		{"Still 8, NICs in pods", false, s.stillEight},
		{"Traffic on every rail", false, s.traffic},
		{"Everything back", false, s.everythingBack},
	}
	for _, c := range chapters {
		s.begin(c.title)
		ctx, cancel := context.WithTimeout(ctx, budget)
		held := s.finish(c.tell(ctx))
		cancel()
		if !held && c.vital {
			break
		}
	}
	if told := s.summary(len(chapters)); !told {
		return errors.New("the story did not hold")
	}
	return nil
}

// newStory reads the guide. One machine plays both nodes: where every real
// node has the guide's eight NICs, the second one here has eight others.
func newStory(r *report, mode, programs string) (*story, error) {
	config, networks, err := readGuide()
	if err != nil {
		return nil, err
	}
	s := &story{report: r, mode: mode, programs: programs, machine: place{prompt: "root@node:~# "}, networks: networks}
	for i, rename := range []func(string) string{func(text string) string { return text }, secondNode} {
		n, err := newNode(i+1, rename(config))
		if err != nil {
			return nil, err
		}
		s.nodes = append(s.nodes, n)
		p := newPod(n)
		for _, network := range networks {
			p.networks = append(p.networks, network.renamed(rename))
		}
		s.pods = append(s.pods, p)
	}
	return s, nil
}

// secondNode gives the names of the first node's NICs to those of the second:
// ens12np0 to ens22np0.
func secondNode(text string) string {
	return regexp.MustCompile(`\bens1(\d)np0\b`).ReplaceAllString(text, "ens2${1}np0")
}

// end ends what the story started, also after a failure.
func (s *story) end() {
	for _, p := range s.pods {
		p.stop()
	}
	for _, n := range s.nodes {
		n.stop()
	}
	if s.ipam != nil {
		s.ipam.stop()
	}
}

// The processor is emulated, and the machine below it may have other work.
const (
	budget   = 3 * time.Minute  // for one chapter
	patience = 90 * time.Second // for one command
	delay    = 30 * time.Second // until what the kernel does by itself is done
)

// eventually waits until the condition holds, or for the error that says what
// is missing.
func eventually(ctx context.Context, condition func() error) error {
	ctx, cancel := context.WithTimeout(ctx, delay)
	defer cancel()
	for {
		err := condition()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("after %v: %w", delay, err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
