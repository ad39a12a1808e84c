package cni

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/beneath"
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
	path := o.config.RuntimeConfig.DeviceInfoFile
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
		return fmt.Errorf("write the device information file: %w", err)
	}
	r.DeviceInfoFile = path
	if err := o.journal.Update(r); err != nil {
		return err
	}
	return beneath.Write(o.policy.DeviceInfoDir, path, b)
}

// removeDeviceInfo is the undo of writeDeviceInfo.
func (o *operation) removeDeviceInfo(r *attachment.Record) error {
	if r.DeviceInfoFile == "" {
		return nil
	}
	return beneath.Remove(o.policy.DeviceInfoDir, r.DeviceInfoFile)
}

// checkDeviceInfo refuses a file that is not among those of Multus.
func (o *operation) checkDeviceInfo() error {
	path, dir := o.config.RuntimeConfig.DeviceInfoFile, o.policy.DeviceInfoDir
	if path == "" || path == filepath.Clean(path) && strings.HasPrefix(path, filepath.Clean(dir)+"/") {
		return nil
	}
	return invalid(`"CNIDeviceInfoFile" is %q`, fmt.Sprintf("the runtime sets it, to a file below %s", dir), path)
}
