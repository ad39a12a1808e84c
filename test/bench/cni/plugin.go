package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// A chain is one network's plugins, in the order of ADD, each with its
// configuration: one of ours, or host-device with rdma-cni behind it.
type chain []map[string]any

// A place is where a plugin is told to attach: the pod, and the interface's
// name in it.
type place struct{ id, netns, ifName string }

// add runs ADD of each plugin, and says how long the processes took together.
// The result of the last is what del wants.
func (o options) add(c chain, at place) (time.Duration, json.RawMessage, error) {
	var total time.Duration
	var result json.RawMessage
	for _, config := range c {
		took, out, err := o.call("ADD", config, result, at)
		total += took
		if err != nil {
			return 0, nil, err
		}
		result = out
	}
	return total, result, nil
}

// del runs DEL of each plugin, the last one first.
func (o options) del(c chain, at place, result json.RawMessage) (time.Duration, error) {
	var total time.Duration
	for i := len(c) - 1; i >= 0; i-- {
		took, _, err := o.call("DEL", c[i], result, at)
		total += took
		if err != nil {
			return 0, err
		}
	}
	return total, nil
}

// call runs one plugin once, as libcni does.
func (o options) call(command string, config map[string]any, previous json.RawMessage, at place) (time.Duration, []byte, error) {
	with := map[string]any{"cniVersion": "1.0.0", "name": "bench"}
	for key, value := range config {
		with[key] = value
	}
	if previous != nil {
		with["prevResult"] = previous
	}
	input, err := json.Marshal(with)
	if err != nil {
		return 0, nil, err
	}
	cmd := exec.Command(filepath.Join(o.Programs, config["type"].(string))) //nolint:gosec // what we measure
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+at.id, "CNI_NETNS="+at.netns, "CNI_IFNAME="+at.ifName, "CNI_PATH="+o.Programs)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(input), &out, &errs
	begin := time.Now()
	err = cmd.Run()
	took := time.Since(begin)
	if err != nil {
		return 0, nil, fmt.Errorf("%s of %s: %w: %s%s", command, config["type"], err, &out, &errs)
	}
	return took, out.Bytes(), nil
}
