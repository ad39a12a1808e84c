package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// A place is where commands are run: the node, or a pod.
type place struct {
	prompt string
	enter  []string // what brings a command there
}

// command is a shell's command line, to be run in the place. It ends with ctx.
func (p place) command(ctx context.Context, line string) *exec.Cmd {
	args := append(append([]string{}, p.enter...), "bash", "-c", line)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.WaitDelay = time.Second
	return c
}

// run runs a command line and returns its output, without the last newline.
func (p place) run(ctx context.Context, line string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var out, complaints bytes.Buffer
	c := p.command(ctx, line)
	c.Stdout, c.Stderr = &out, &complaints
	if err := c.Run(); err != nil {
		return "", fmt.Errorf("%s%s: %w\n%s", p.prompt, line, err, strings.TrimSpace(out.String()+complaints.String()))
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

// show runs a command line and prints both it and its output, which filter
// may shorten.
func (r *report) show(ctx context.Context, p place, line string, filter func(string) string) (string, error) {
	r.command(p.prompt, line)
	out, err := p.run(ctx, line)
	if err != nil {
		return "", err
	}
	shown := out
	if filter != nil {
		shown = filter(out)
	}
	r.output(shown)
	return out, nil
}
