package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// A node has a kubelet and a device plugin.
type node struct {
	number     int
	config     string // config.json
	configFile string
	kubeletDir string
	resource   string   // "rdma/hca_gpu"
	units      int      // rdmaHcaMax
	nics       []string // ifNames

	kubelet *kubelet.Kubelet
	plugin  *process
	log     *lines // of both
}

// newNode makes a node. The first one has everything at its usual place, so
// that the device plugin needs no flags there.
func newNode(number int, config string) (*node, error) {
	c, err := parsePluginConfig(config)
	if err != nil {
		return nil, err
	}
	n := &node{
		number: number, config: config, log: &lines{},
		configFile: "/k8s-rdma-shared-dev-plugin/config.json", kubeletDir: "/var/lib/kubelet",
		resource: "rdma/" + c.ConfigList[0].ResourceName, units: c.ConfigList[0].RdmaHcaMax, nics: c.ConfigList[0].Selectors.IfNames,
	}
	if number > 1 {
		n.configFile, n.kubeletDir = fmt.Sprintf("/node%d/config.json", number), fmt.Sprintf("/node%d/kubelet", number)
	}
	return n, nil
}

func (n *node) String() string { return fmt.Sprintf("node %d", n.number) }

// commandLine is how the device plugin is started.
func (n *node) commandLine() string {
	if n.number == 1 {
		return "rdma-device-plugin"
	}
	return fmt.Sprintf("rdma-device-plugin --config-file %s --kubelet-dir %s --metrics-address 127.0.0.1:%d", n.configFile, n.kubeletDir, 9816+n.number)
}

// start starts the device plugin and waits until the kubelet has its devices.
func (n *node) start(ctx context.Context) error {
	if n.kubelet == nil {
		k, err := kubelet.Start(filepath.Join(n.kubeletDir, "device-plugins"), slog.New(slog.NewTextHandler(n.log, nil)).With("from", "kubelet"))
		if err != nil {
			return err
		}
		n.kubelet = k
	}
	var err error
	if n.plugin, err = startProcess(n.commandLine(), n.log); err != nil {
		return err
	}
	return n.waitFor(ctx, n.units)
}

// waitFor waits until so many units are allocatable.
func (n *node) waitFor(ctx context.Context, units int) error {
	ctx, stop := context.WithTimeout(ctx, patience)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ended := n.plugin.ended
	if units == 0 {
		ended = nil // it is meant to end
	}
	go func() {
		select {
		case <-ended:
			cancel(errors.New("the device plugin ended"))
		case <-ctx.Done():
		}
	}()
	if err := n.kubelet.Wait(ctx, n.resource, units); err != nil {
		return fmt.Errorf("%v: %w\n%s", n, err, n.log.take())
	}
	return nil
}

// allocatable is the node's status as the guide shows it.
func (n *node) allocatable() string {
	if n.kubelet == nil {
		return ""
	}
	_, units := n.kubelet.Allocatable(n.resource)
	return n.offer(units)
}

func (n *node) offer(units int) string { return fmt.Sprintf("%s: %d", n.resource, units) }

// allocate is what the kubelet does for a container that asks for all units.
// It returns the device files, and the units to free.
func (n *node) allocate() (devices, ids []string, err error) {
	if n.kubelet == nil {
		return nil, nil, errors.New("no kubelet is running")
	}
	response, ids, err := n.kubelet.Allocate(n.resource, n.units)
	if err != nil {
		return nil, nil, err
	}
	for _, d := range response.Devices {
		if d.Permissions != "rw" || d.ContainerPath != d.HostPath {
			return nil, nil, fmt.Errorf("device %v is not what it should be", d)
		}
		devices = append(devices, d.HostPath)
	}
	return devices, ids, nil
}

// stop ends the device plugin and the kubelet.
func (n *node) stop() {
	if n.plugin != nil {
		_ = n.plugin.stop() // the story has its result
	}
	if n.kubelet != nil {
		n.kubelet.Close()
	}
}

// restart ends the device plugin as the kubelet would, and starts it again.
func (n *node) restart(ctx context.Context) error {
	if err := n.plugin.stop(); err != nil {
		return fmt.Errorf("the device plugin of %v: %w", n, err)
	}
	if err := n.waitFor(ctx, 0); err != nil {
		return err
	}
	return n.start(ctx)
}
