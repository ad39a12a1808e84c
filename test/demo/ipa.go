package main

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// shortIPA leaves of the output of `ip a` what matters here: of each netN its
// own line up to its state, its MAC address and its IPv4 address.
func shortIPA(out string) string {
	var lines []string
	wanted := false
	for line := range strings.SplitSeq(out, "\n") {
		if !strings.HasPrefix(line, " ") {
			wanted = regexp.MustCompile(`^\d+: net\d+: `).MatchString(line)
		}
		if wanted && !strings.Contains(line, "inet6") && !strings.Contains(line, "valid_lft") {
			line, _, _ = strings.Cut(line, " group default")
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

// parseIPA reads `ip a`: for each netdev "net1 up mtu 9000 172.31.1.1/24".
func parseIPA(out string) map[string]string {
	netdevs := map[string]string{}
	name := ""
	for line := range strings.SplitSeq(out, "\n") {
		if m := regexp.MustCompile(`^\d+: ([^:@]+)[:@].* mtu (\d+) .*state (\S+)`).FindStringSubmatch(line); m != nil {
			name = m[1]
			netdevs[name] = fmt.Sprintf("%s %s mtu %s", name, strings.ToLower(m[3]), m[2])
		} else if address := word(line, "inet"); address != "" {
			netdevs[name] += " " + address
		}
	}
	return netdevs
}

// shorten writes uverbs0 uverbs1 uverbs2 uverbs9 as uverbs0-2,9. A name that
// is there twice is written twice.
func shorten(names []string) string {
	var numbers []int
	prefix := ""
	for _, name := range names {
		prefix = strings.TrimRight(name, "0123456789")
		n, err := strconv.Atoi(name[len(prefix):])
		if err != nil {
			return strings.Join(names, " ")
		}
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	var ranges []string
	for i := 0; i < len(numbers); {
		last := i
		for last+1 < len(numbers) && numbers[last+1] == numbers[last]+1 {
			last++
		}
		if last == i {
			ranges = append(ranges, strconv.Itoa(numbers[i]))
		} else {
			ranges = append(ranges, fmt.Sprintf("%d-%d", numbers[i], numbers[last]))
		}
		i = last + 1
	}
	return prefix + strings.Join(ranges, ",")
}
