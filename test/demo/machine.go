package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	sortedRDMALink = "rdma link | sort -V"
	mtu            = "9000" // as in the guide
)

// theNode shows what there is before anything is moved.
func (s *story) theNode(ctx context.Context) error {
	s.say("A virtual machine under software emulation plays both nodes of the guide. Node 1 has the guide's NICs, %s to %s; node 2's are named %s to %s here.",
		s.nodes[0].nics[0], s.nodes[0].nics[7], s.nodes[1].nics[0], s.nodes[1].nics[7])
	if err := s.install(); err != nil {
		return err
	}
	if _, err := s.show(ctx, s.machine, "uname -sr", nil); err != nil {
		return err
	}
	system, err := s.show(ctx, s.machine, "rdma system", nil)
	if err != nil {
		return err
	}
	var want []string
	for _, n := range s.nodes {
		want = append(want, n.nics...)
	}
	// A port is active once the driver has seen its netdev's carrier; what is
	// missing for good, the checks find.
	var have, healthy []string
	_ = eventually(ctx, func() error {
		have, healthy, err = s.look(ctx)
		if lost := missing(want, healthy); err == nil && len(lost) > 0 {
			return fmt.Errorf("not ready: %v", lost)
		}
		return err
	})
	if err != nil {
		return err
	}
	if _, err := s.show(ctx, s.machine, sortedRDMALink, nil); err != nil {
		return err
	}
	s.command(s.machine.prompt, "cat "+s.nodes[0].configFile)
	s.document(s.nodes[0].config)

	s.check("RDMA namespace mode", s.mode, word(system, "netns"))
	s.check("the NICs of both nodes", fmt.Sprint(len(want)), fmt.Sprint(len(want)-len(missing(want, have))))
	s.check("up, MTU 9000, RDMA active", fmt.Sprint(len(want)), fmt.Sprint(len(want)-len(missing(want, healthy))))
	return nil
}

// look notes the NICs as they are before the story, and names those that are
// there and those that are as the guide wants them.
func (s *story) look(ctx context.Context) (have, healthy []string, err error) {
	links, err := s.machine.run(ctx, "rdma link")
	if err != nil {
		return nil, nil, err
	}
	if s.before, err = hostNICs(parseRDMALinks(links)); err != nil {
		return nil, nil, err
	}
	for _, n := range s.before {
		have = append(have, n.name)
		if n.field("state") == "up" && n.field("MTU") == mtu && n.field("port") == "ACTIVE" && n.field("uverbs") != "" {
			healthy = append(healthy, n.name)
		}
	}
	return have, healthy, nil
}

// install puts the programs where they belong on a node. Run from the folder
// that the virtual machine shares, each would be slow at first.
func (s *story) install() error {
	for program, folder := range map[string]string{"rdma-device-plugin": "/usr/bin", "roce-host-device": pluginFolder, "whereabouts": pluginFolder} {
		content, err := os.ReadFile(filepath.Join(s.programs, program))
		if err != nil {
			return err
		}
		if err := os.MkdirAll(folder, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(folder, program), content, 0o755); err != nil {
			return err
		}
	}
	for _, n := range s.nodes {
		if err := os.MkdirAll(filepath.Dir(n.configFile), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(n.configFile, []byte(n.config), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// word is the word after another one.
func word(text, before string) string {
	words := strings.Fields(text)
	if i := slices.Index(words, before); i >= 0 && i+1 < len(words) {
		return words[i+1]
	}
	return ""
}

// missing lists what is wanted and not there.
func missing(want, have []string) []string {
	return slices.DeleteFunc(slices.Clone(want), func(w string) bool { return slices.Contains(have, w) })
}
