package cni_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"golang.org/x/sys/unix"
)

func gettid() int { return unix.Gettid() }

// program finds one of the programs under test.
func program(name string) string {
	for _, dir := range filepath.SplitList(os.Getenv("ROCE_CNI_PATH")) {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err == nil {
			return path
		}
	}
	return name
}

func plugin() string { return program("roce-host-device") }

// command is a plugin about to be run without libcni.
func (p *pod) command(plugin, command, ifName string, config []byte, env ...string) *exec.Cmd {
	cmd := exec.Command(program(plugin))
	cmd.Env = append(os.Environ(), "CNI_COMMAND="+command, "CNI_CONTAINERID="+p.id, "CNI_NETNS="+p.netns,
		"CNI_IFNAME="+ifName, "CNI_PATH="+os.Getenv("ROCE_CNI_PATH"))
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdin = bytes.NewReader(config)
	cmd.Stderr = os.Stderr
	return cmd
}

// call runs it, and makes an error of the one that it prints.
func (p *pod) call(plugin, command, ifName string, config []byte, env ...string) ([]byte, error) {
	out, err := p.command(plugin, command, ifName, config, env...).Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		var e types.Error
		if jsonErr := json.Unmarshal(out, &e); jsonErr != nil {
			return out, err
		}
		return out, &e
	}
	return out, err
}

// direct runs ours, for what libcni would not pass on.
func (p *pod) direct(command, ifName string, config []byte, env ...string) ([]byte, error) {
	return p.call("roce-host-device", command, ifName, config, env...)
}

func (p *pod) addDirect(ifName string, config map[string]any) *current.Result {
	p.Helper()
	b, err := json.Marshal(config)
	must(p, err)
	out, err := p.direct("ADD", ifName, b)
	must(p, err)
	result, err := current.NewResult(out)
	must(p, err)
	r, err := current.NewResultFromResult(result)
	must(p, err)
	return r
}
