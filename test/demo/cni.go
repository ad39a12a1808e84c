package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
)

const pluginFolder = "/opt/cni/bin"

// A cniRuntime calls CNI plugins as Multus does.
type cniRuntime struct {
	cni *libcni.CNIConfig
	log *lines // what the plugins wrote to standard error
}

func newRuntime() *cniRuntime {
	log := &lines{}
	exec := &invoke.DefaultExec{RawExec: &invoke.RawExec{Stderr: log}, PluginDecoder: version.PluginDecoder{}}
	return &cniRuntime{cni: libcni.NewCNIConfigWithCacheDir([]string{pluginFolder}, "/var/lib/cni/multus", exec), log: log}
}

func (r *cniRuntime) conf(p *pod, ifName string) *libcni.RuntimeConf {
	return &libcni.RuntimeConf{ContainerID: p.id, NetNS: p.netns, IfName: ifName, Args: [][2]string{
		{"IgnoreUnknown", "true"}, {"K8S_POD_NAMESPACE", "default"}, {"K8S_POD_NAME", p.name}, {"K8S_POD_INFRA_CONTAINER_ID", p.id}}}
}

// commandLine is the call as a shell would make it.
func (r *cniRuntime) commandLine(p *pod, ifName string) string {
	var args []string
	for _, a := range r.conf(p, ifName).Args {
		args = append(args, a[0]+"="+a[1])
	}
	return fmt.Sprintf("CNI_COMMAND=ADD CNI_IFNAME=%s CNI_NETNS=%s CNI_CONTAINERID=%s CNI_PATH=%s CNI_ARGS='%s' roce-host-device",
		ifName, p.netns, p.id, pluginFolder, strings.Join(args, ";"))
}

// A cniResult is what an ADD printed.
type cniResult struct {
	text    string
	address netip.Prefix
}

func (r *cniRuntime) add(ctx context.Context, p *pod, ifName, config string) (cniResult, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plugin, err := libcni.NetworkPluginConfFromBytes([]byte(config))
	if err != nil {
		return cniResult{}, err
	}
	answer, err := r.cni.AddNetwork(ctx, plugin, r.conf(p, ifName))
	if err != nil {
		return cniResult{}, r.explain(err)
	}
	r.log.take()
	text, err := json.MarshalIndent(answer, "", "  ")
	if err != nil {
		return cniResult{}, err
	}
	result, err := current.NewResultFromResult(answer)
	if err != nil {
		return cniResult{}, err
	}
	if len(result.IPs) != 1 {
		return cniResult{}, fmt.Errorf("%d addresses in the result, not 1:\n%s", len(result.IPs), text)
	}
	ip := result.IPs[0].Address
	address, _ := netip.AddrFromSlice(ip.IP)
	ones, _ := ip.Mask.Size()
	return cniResult{text: string(text), address: netip.PrefixFrom(address.Unmap(), ones)}, nil
}

func (r *cniRuntime) del(ctx context.Context, p *pod, ifName, config string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plugin, err := libcni.NetworkPluginConfFromBytes([]byte(config))
	if err != nil {
		return err
	}
	if err := r.cni.DelNetwork(ctx, plugin, r.conf(p, ifName)); err != nil {
		return r.explain(err)
	}
	r.log.take()
	return nil
}

// explain adds to an error what the plugins logged, but for the debug lines
// of Whereabouts.
func (r *cniRuntime) explain(err error) error {
	var logged []string
	for line := range strings.SplitSeq(r.log.take(), "\n") {
		if !strings.Contains(line, "[debug]") && line != "" {
			logged = append(logged, "\n"+line)
		}
	}
	return fmt.Errorf("%w%s", err, strings.Join(logged, ""))
}

// journalRecords counts the attachments that the plugin has written down.
func journalRecords() (int, error) {
	files, err := filepath.Glob(filepath.Join(attachment.DefaultDir, "attachments", "*"))
	if err != nil {
		return 0, err
	}
	if _, err := os.Stat(attachment.DefaultDir); err != nil {
		return 0, err
	}
	return len(files), nil
}
