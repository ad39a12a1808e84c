package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/roce-k8s/roce-k8s/test/bench/pod/alone"
)

// bareCalls runs a plugin's command once for each network of a contender, one after
// another as Multus does, and nothing else. It says how long they took together,
// in ms.
func (s *site) bareCalls(ctx context.Context, program, command string, c contender) (float64, error) {
	const prepare = `export CNI_COMMAND=%s CNI_CONTAINERID=bare CNI_NETNS=/run/netns/bare CNI_PATH=/opt/cni/bin
export CNI_ARGS="IgnoreUnknown=1;K8S_POD_NAMESPACE=default;K8S_POD_NAME=bare"
call() { CNI_IFNAME=net$1 %s <<<"$2" >/run/bare 2>&1 || { cat /run/bare; exit 1; }; }`
	var calls []string
	for i := range c.networks() {
		config, err := json.Marshal(c.config(i + 1))
		if err != nil {
			return 0, err
		}
		calls = append(calls, fmt.Sprintf("call %d '%s'", i+1, config))
	}
	return alone.Clocked(ctx, s.node, fmt.Sprintf(prepare, command, program), calls, "")
}

// bareIPAM is what eight addresses cost, and nobody can save.
func (s *site) bareIPAM(ctx context.Context, ipam string) (float64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	program := "/opt/cni/bin/" + ipam
	took, err := s.bareCalls(ctx, program, "ADD", contender{plugin: theirs, ipam: ipam})
	if err != nil {
		return 0, err
	}
	_, err = s.bareCalls(ctx, program, "DEL", contender{plugin: theirs, ipam: ipam})
	return took, err
}

// bareMoves is what the kernel takes for eight NICs.
func (s *site) bareMoves(ctx context.Context) (float64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if err := s.reset(ctx, contender{}); err != nil {
		return 0, err
	}
	return alone.Moves(ctx, s.node)
}
