package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
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
	return s.clocked(ctx, fmt.Sprintf(prepare, command, program), calls, "")
}

// clocked runs commands on the node and says how long they took together, in ms,
// without what comes before and after them. There is a network namespace bare.
func (s *site) clocked(ctx context.Context, before string, commands []string, after string) (float64, error) {
	out, err := s.node.Run(ctx, fmt.Sprintf(`[[ -e /run/netns/bare ]] || ip netns add bare || exit
%s
begin=$EPOCHREALTIME
%s || exit
end=$EPOCHREALTIME
%s
echo $((${end/.} - ${begin/.}))
`, before, strings.Join(commands, " &&\n"), after))
	if err != nil {
		return 0, err
	}
	microseconds, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	return microseconds / 1000, err
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

// bareMoves is what the kernel takes for eight NICs: one RTM_NEWLINK each, that
// moves it and sets it up, by `ip`.
func (s *site) bareMoves(ctx context.Context) (float64, error) {
	ctx, cancel := within(ctx)
	defer cancel()
	if err := s.reset(ctx, contender{}); err != nil {
		return 0, err
	}
	var there, back []string
	for _, nic := range cluster.Rails() {
		there = append(there, "ip link set "+nic+" netns bare up")
		back = append(back, "ip -n bare link set "+nic+" netns 1 up") // process 1 is the node's
	}
	return s.clocked(ctx, "", there, strings.Join(back, " &&\n")+" || exit")
}
