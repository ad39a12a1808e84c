package cni

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// deviceInfo is the file from which Multus publishes a device in the pod's
// network status. Source: Device Information Specification 1.1.0 of the
// Kubernetes Network Plumbing Working Group.
type deviceInfo struct {
	Type    string `json:"type"`
	Version string `json:"version"`
	PCI     struct {
		Address string `json:"pci-address"`
		RDMA    string `json:"rdma-device,omitempty"`
	} `json:"pci"`
}

// writeDeviceInfo writes the file that the runtime asks for, if it does. The
// specification has no type for a device without a PCI address.
func (o *operation) writeDeviceInfo(r *attachment.Record) error {
	path := r.DeviceInfoFile
	if path == "" || r.NIC.Bus != rdma.BusPCI {
		return nil
	}
	info := deviceInfo{Type: "pci", Version: "1.1.0"}
	info.PCI.Address = r.NIC.Address
	if r.NIC.RDMA != nil {
		info.PCI.RDMA = r.NIC.RDMA.Name
		if o.config.RDMADeviceName != "" {
			info.PCI.RDMA = o.config.RDMADeviceName
		}
	}
	b, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("write the device info file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the device info file: %w", err)
	}
	temp := path + ".new"
	if err := os.WriteFile(temp, b, 0o444); err != nil {
		return fmt.Errorf("write the device info file: %w", err)
	}
	if err := os.Rename(temp, path); err != nil {
		return fmt.Errorf("write the device info file: %w", err)
	}
	return nil
}

// removeDeviceInfo is the undo of writeDeviceInfo.
func removeDeviceInfo(r *attachment.Record) error {
	if r.DeviceInfoFile == "" {
		return nil
	}
	for _, path := range []string{r.DeviceInfoFile, r.DeviceInfoFile + ".new"} {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove the device info file: %w", err)
		}
	}
	return nil
}
