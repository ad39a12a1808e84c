package report

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A Machine is what is measured on, and when.
type Machine struct {
	what string
	load float64 // before the run
}

// ThisMachine describes the machine before a run.
func ThisMachine() (Machine, error) {
	load, err := loadAverage()
	if err != nil {
		return Machine{}, err
	}
	kernel, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return Machine{}, err
	}
	cpus, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return Machine{}, err
	}
	model := "processor of unknown model"
	for line := range strings.Lines(string(cpus)) {
		if rest, ok := strings.CutPrefix(line, "model name"); ok {
			model = strings.TrimSpace(strings.TrimLeft(rest, "\t :"))
			break
		}
	}
	return Machine{fmt.Sprintf("%s, %d × %s, Linux %s", time.Now().UTC().Format(time.DateOnly), runtime.NumCPU(), model, strings.TrimSpace(string(kernel))), load}, nil
}

// Ran says in a line what was measured on, when the run is over. A machine that
// had other work says so: times are longer then, and ratios less certain.
func (m Machine) Ran() (string, error) {
	after, err := loadAverage()
	if err != nil {
		return "", err
	}
	s := fmt.Sprintf("%s, load average %.2f before and %.2f after the run", m.what, m.load, after)
	if m.load > float64(runtime.NumCPU())/2 {
		s += ": **not a quiet machine**"
	}
	// The system call answers 20 - nice.
	if p, err := unix.Getpriority(unix.PRIO_PROCESS, 0); err == nil && p > 20 {
		s += fmt.Sprintf(", all of it at nice %d", 20-p)
	}
	return s, nil
}

// loadAverage is that of the last minute.
func loadAverage() (float64, error) {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, err
	}
	first, _, _ := strings.Cut(string(b), " ")
	return strconv.ParseFloat(first, 64)
}
