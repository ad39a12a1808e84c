// Package alone times on a node what a pod with NICs cannot do without, and nothing
// else: it is what nobody gets below.
package alone

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/test/e2e/cluster"
)

// Clocked runs commands on the node and says how long they took together, in ms,
// without what comes before and after them. There is a network namespace bare.
func Clocked(ctx context.Context, node *cluster.Node, before string, commands []string, after string) (float64, error) {
	out, err := node.Run(ctx, fmt.Sprintf(`[[ -e /run/netns/bare ]] || ip netns add bare || exit
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

// Moves is what the kernel takes for eight NICs, which are on the host and up: one
// RTM_NEWLINK each, that moves it and sets it up, by `ip`. They come back without
// their addresses.
func Moves(ctx context.Context, node *cluster.Node) (float64, error) {
	var there, back []string
	for _, nic := range cluster.Rails() {
		there = append(there, "ip link set "+nic+" netns bare up")
		back = append(back, "ip -n bare link set "+nic+" netns 1 up") // process 1 is the node's
	}
	return Clocked(ctx, node, "", there, strings.Join(back, " &&\n")+" || exit")
}
