package rdma

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/kernelfile"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Counts are what a device has counted, and what changes about it otherwise. The
// names are the kernel's, except where those leave the unit open.
type Counts struct {
	HCAType  string           `json:"hcaType,omitempty"`
	Firmware string           `json:"firmware,omitempty"`
	Board    string           `json:"board,omitempty"`
	Counters []netdev.Counter `json:"counters,omitempty"` // of no port
	Ports    []PortCounts     `json:"ports"`
}

// PortCounts are those of a port.
type PortCounts struct {
	Number    int    `json:"number"`
	LinkLayer string `json:"linkLayer"`
	// State and PhysState as sysfs names them, StateNumber that of enum
	// ib_port_state in <rdma/ib_verbs.h>: 1 for DOWN, 4 for ACTIVE.
	State       string `json:"state"`
	StateNumber int    `json:"stateNumber"`
	PhysState   string `json:"physState"`
	// Rate is in bits per second, 0 if the kernel does not say.
	Rate     float64          `json:"rate,omitempty"`
	Counters []netdev.Counter `json:"counters"`
}

// notAgain is how long a counter is left alone that the driver would not read:
// some firmware refuses a counter for good, and the driver writes each refusal
// to the kernel's log.
const notAgain = 10 * time.Minute

// A CounterReader reads the counters of devices again and again. It never
// switches any on: those that are optional are not in sysfs.
type CounterReader struct {
	mu      sync.Mutex           // guards what follows
	refused map[string]time.Time // when the driver would not read a counter
	names   map[string]string    // of counters, each once
}

// NewCounterReader makes a reader.
func NewCounterReader() *CounterReader {
	return &CounterReader{refused: map[string]time.Time{}, names: map[string]string{}}
}

// Read reads the counters of a device that the node shows. Those that cannot be
// read are left out; an error means that the device is not there.
func (r *CounterReader) Read(n Node, device string) (Counts, error) {
	dir := n.class("infiniband", device)
	ports, err := n.ports(dir)
	if err != nil {
		return Counts{}, err
	}
	if len(ports) == 0 {
		return Counts{}, &fs.PathError{Op: "list ports", Path: dir, Err: fs.ErrNotExist}
	}
	c := Counts{Counters: r.folder(dir, device, "hw_counters", nil)}
	c.HCAType, _ = readString(dir, "hca_type")
	c.Firmware, c.Board = n.Firmware(device)
	for _, p := range ports {
		number := strconv.Itoa(p.Number)
		dir := filepath.Join(dir, "ports", number)
		counts := PortCounts{Number: p.Number, LinkLayer: p.LinkLayer, PhysState: readState(filepath.Join(dir, "phys_state"))}
		state, _ := readString(dir, "state")
		before, after, _ := strings.Cut(state, ": ")
		counts.StateNumber, _ = strconv.Atoi(before)
		counts.State = after
		if rate, err := readString(dir, "rate"); err == nil {
			counts.Rate = parseRate(rate)
		}
		counts.Counters = r.folder(dir, device+"/"+number, "counters", nil)
		counts.Counters = r.folder(dir, device+"/"+number, "hw_counters", counts.Counters)
		c.Ports = append(c.Ports, counts)
	}
	return c, nil
}

// longestCounter is in bytes: a number of 64 bits.
const longestCounter = 32

// folder adds the counters of one folder to those of others. subject is whose
// they are.
func (r *CounterReader) folder(dir, subject, name string, counters []netdev.Counter) []netdev.Counter {
	open, err := kernelfile.OpenFolder(dir + "/" + name)
	if err != nil {
		return counters
	}
	defer open.Close()
	entries, err := open.Dirents(nil)
	if err != nil {
		return counters
	}
	room := make([]byte, longestCounter)
	for entry := range kernelfile.Entries(entries) {
		file, rests := r.look(subject, name, entry)
		if rests {
			continue
		}
		text, err := open.ReadInto(file, room)
		if refuses(err) {
			r.leave(subject, name, file)
		}
		value, notNumber := strconv.ParseUint(string(text), 10, 64)
		if err != nil || notNumber != nil { // "N/A (no PMA)" of older kernels
			continue
		}
		counters = append(counters, inUnits(file, value))
	}
	return counters
}

// inUnits is a counter in the units of its name. Data is counted in words of
// four bytes (PortXmitData in the InfiniBand specification, 16.1.3.5; RoCE
// drivers do as well).
func inUnits(file string, value uint64) netdev.Counter {
	switch file {
	case "port_xmit_data", "port_rcv_data":
		return netdev.Counter{Name: file + "_bytes", Value: 4 * value}
	}
	return netdev.Counter{Name: file, Value: value}
}

// refuses tells an answer of the driver from a device that has just left.
func refuses(err error) bool {
	failed := (*fs.PathError)(nil)
	return errors.As(err, &failed) && failed.Op == "read" && !errors.Is(err, unix.ENODEV)
}

// look tells whether a counter is to be left alone, and makes its name a string.
func (r *CounterReader) look(subject, folder string, file []byte) (name string, rests bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	name, ok := r.names[string(file)]
	if !ok {
		name = string(file)
		r.names[name] = name
	}
	if len(r.refused) == 0 { // as nearly always
		return name, false
	}
	key := subject + "/" + folder + "/" + name
	since, rests := r.refused[key]
	if rests && time.Since(since) >= notAgain {
		delete(r.refused, key)
		rests = false
	}
	return name, rests
}

func (r *CounterReader) leave(subject, folder, name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused[subject+"/"+folder+"/"+name] = time.Now()
}

// parseRate reads "400 Gb/sec (4X NDR)" as bits per second.
func parseRate(text string) float64 {
	number, _, _ := strings.Cut(text, " Gb/sec")
	gigabits, err := strconv.ParseFloat(number, 64)
	if err != nil {
		return 0
	}
	return gigabits * 1e9
}
