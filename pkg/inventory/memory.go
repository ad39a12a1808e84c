package inventory

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

const (
	memoryFile    = "device-plugin.json"
	memoryVersion = 1
)

// A memory is the program's own record of what the host saw of each device,
// kept across restarts of the program, for one boot: what the selectors chose
// stays chosen, whoever moved it, and is told apart from what was never there.
type memory struct {
	path   string
	bootID string
	log    *slog.Logger

	devices []Device
	failing bool // the last write failed, and that was logged
}

// memoryContent is the file.
type memoryContent struct {
	Version int          `json:"version"`
	BootID  string       `json:"bootID"`
	Devices []remembered `json:"devices"`
}

type remembered struct {
	rdma.Device
	AltNames []string `json:"altNames,omitempty"`
	Masters  []string `json:"masters,omitempty"`
	MTU      int      `json:"mtu,omitempty"`
	Rate     float64  `json:"rate,omitempty"`
}

func remember(d Device) remembered { return remembered{d.Device, d.AltNames, d.Masters, d.MTU, d.Rate} }

func (r remembered) device() Device {
	return Device{Device: r.Device, AltNames: r.AltNames, Masters: r.Masters, MTU: r.MTU, Rate: r.Rate}
}

// openMemory reads the record in a state folder. One of another boot, or one
// that cannot be used, counts as none.
func openMemory(stateDir, bootID string, log *slog.Logger) *memory {
	m := &memory{path: filepath.Join(stateDir, memoryFile), bootID: bootID, log: log}
	b, err := os.ReadFile(m.path)
	if errors.Is(err, fs.ErrNotExist) {
		return m
	}
	content := memoryContent{}
	if err == nil {
		err = json.Unmarshal(b, &content)
	}
	if err == nil && content.Version != memoryVersion {
		err = fmt.Errorf("format version %d, this program writes %d", content.Version, memoryVersion)
	}
	if err != nil {
		log.Warn("starting without the record of earlier devices", "file", m.path, "err", err)
		return m
	}
	if content.BootID == bootID {
		for _, r := range content.Devices {
			if r.Name == "" || r.Soft && r.NodeGUID == "" || !r.Soft && r.Address == "" {
				continue // nothing could be recognised by it
			}
			m.devices = append(m.devices, r.device())
		}
	}
	return m
}

// all returns the devices as the host last saw them.
func (m *memory) all() []Device { return m.devices }

// drop forgets one device.
func (m *memory) drop(key string) error {
	m.devices = slices.DeleteFunc(slices.Clone(m.devices), func(d Device) bool { return d.Key() == key })
	return m.write()
}

// keep remembers devices, and writes the file if anything changed.
func (m *memory) keep(devices []Device) {
	kept := make([]Device, len(devices))
	for n, d := range devices {
		// What changes all the time is not worth remembering.
		for i, p := range d.Ports {
			if i == 0 {
				d.Ports = slices.Clone(d.Ports)
			}
			d.Ports[i] = rdma.Port{Number: p.Number, LinkLayer: p.LinkLayer}
		}
		kept[n] = remember(d).device()
	}
	if !m.failing && reflect.DeepEqual(kept, m.devices) {
		return
	}
	m.devices = kept
	err := m.write()
	if err != nil && !m.failing {
		m.log.Warn("cannot write the record of devices; a restart may forget NICs that are away", "err", err)
	}
	m.failing = err != nil
}

func (m *memory) write() error {
	content := memoryContent{Version: memoryVersion, BootID: m.bootID}
	for _, d := range m.devices {
		content.Devices = append(content.Devices, remember(d))
	}
	b, err := json.MarshalIndent(content, "", "  ")
	if err != nil {
		return err
	}
	dir := filepath.Dir(m.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".device-plugin-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(b, '\n'))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), m.path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
