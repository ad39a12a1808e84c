package doctor

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

var errNoDCB = errors.New("no driver of a rail on the host reports data centre bridging")

// A bridging is a rail on the host with what its driver reports.
type bridging struct {
	nic string
	*netdev.DCB
}

// bridged are the rails on the host whose drivers report data centre bridging.
// Firmware that does it alone does not.
func (p *patient) bridged() (rails []bridging, err error) {
	if p.DCB == nil {
		return nil, errors.New("there is no netlink to ask")
	}
	for _, d := range p.onHost() {
		answer, err := p.DCB(d.Netdevs[0])
		if err != nil {
			return nil, err
		}
		if answer != nil && answer.PFC != nil {
			rails = append(rails, bridging{d.Netdevs[0], answer})
		}
	}
	if len(rails) == 0 {
		return nil, errNoDCB
	}
	return rails, nil
}

// lossless are the priorities that pause.
func (b bridging) lossless() (priorities []int) {
	for i, on := range b.PFC {
		if on {
			priorities = append(priorities, i)
		}
	}
	return priorities
}

func pfc(p *patient) (found []symptom, err error) {
	rails, err := p.bridged()
	for _, b := range rails {
		if len(b.lossless()) == 0 {
			found = append(found, symptom{where: b.nic, what: "no priority is lossless: PFC is off"})
		}
	}
	return found, err
}

func trust(p *patient) (found []symptom, err error) {
	rails, err := p.bridged()
	for _, b := range rails {
		lossless := b.lossless()
		marked := slices.ContainsFunc(slices.Collect(maps.Values(b.DSCP)), func(priority uint8) bool { return slices.Contains(lossless, int(priority)) })
		switch {
		case len(lossless) == 0 || marked:
		case len(b.DSCP) == 0:
			found = append(found, symptom{where: b.nic, what: "trusts no DSCP"})
		default:
			found = append(found, symptom{where: b.nic, what: fmt.Sprintf("no DSCP leads to the lossless priority %s", numbers(lossless))})
		}
	}
	return found, err
}

func ets(p *patient) (found []symptom, err error) {
	rails, err := p.bridged()
	for _, b := range rails {
		if b.ETS == nil {
			continue
		}
		for _, priority := range b.lossless() {
			class := b.ETS.Class[priority]
			if int(class) >= netdev.Priorities {
				continue
			}
			if beside := b.beside(priority, class); len(beside) > 0 {
				found = append(found, symptom{where: b.nic, what: fmt.Sprintf("the lossless priority %d shares traffic class %d with %s", priority, class, numbers(beside))})
			} else if b.ETS.Shares[class] && b.ETS.Bandwidth[class] == 0 {
				found = append(found, symptom{where: b.nic, what: fmt.Sprintf("traffic class %d of the lossless priority %d has 0 %% of the bandwidth", class, priority)})
			}
		}
	}
	return found, err
}

// beside are the priorities that are not lossless in a class.
func (b bridging) beside(priority int, class uint8) (others []int) {
	for other, c := range b.ETS.Class {
		if other != priority && c == class && !b.PFC[other] {
			others = append(others, other)
		}
	}
	return others
}

func dcbDiffers(p *patient) (found []symptom, err error) {
	rails, err := p.bridged()
	var states []string
	for _, b := range rails {
		state := "lossless " + numbers(b.lossless())
		for _, dscp := range slices.Sorted(maps.Keys(b.DSCP)) {
			if b.PFC[b.DSCP[dscp]%netdev.Priorities] {
				state += fmt.Sprintf(", DSCP %d is %d", dscp, b.DSCP[dscp])
			}
		}
		states = append(states, state)
	}
	oddOnes(states, func(i int, usual string) {
		found = append(found, symptom{where: rails[i].nic, what: states[i] + "; most rails: " + usual})
	})
	return found, err
}

// numbers are priorities for a message.
func numbers(priorities []int) string {
	if len(priorities) == 0 {
		return "none"
	}
	var words []string
	for _, n := range priorities {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, ", ")
}

// usualPriority is that of RoCE where no driver says which is lossless.
const usualPriority = 3

// ecn looks at the files that NVIDIA's packaged mlx5 driver has; the kernel's own
// has them below debugfs only.
func ecn(p *patient) (found []symptom, err error) {
	lossless := map[string][]int{}
	rails, _ := p.bridged()
	for _, b := range rails {
		lossless[b.nic] = b.lossless()
	}
	seen := false
	for _, d := range p.onHost() {
		nic := d.Netdevs[0]
		priorities := lossless[nic]
		if len(priorities) == 0 {
			priorities = []int{usualPriority}
		}
		for _, priority := range priorities {
			var off []string
			for _, role := range []string{"roce_np", "roce_rp"} {
				file := filepath.Join("ecn", role, "enable", strconv.Itoa(priority))
				if _, err := os.Stat(filepath.Join(p.Roots.Sys, "class/net", nic, file)); err != nil {
					continue
				}
				seen = true
				if p.sys("class/net", nic, file) == "0" {
					off = append(off, role)
				}
			}
			if len(off) > 0 {
				found = append(found, symptom{nic, fmt.Sprintf("ECN is off for priority %d (%s)", priority, list(off)), fmt.Sprintf("%s/ecn/roce_*/enable/%d", nic, priority)})
			}
		}
	}
	if !seen {
		return nil, errors.New("no driver of a rail on the host has ECN in sysfs")
	}
	return found, nil
}
