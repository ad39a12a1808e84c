package deviceplugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// Explain prints every RDMA device and NIC of the node and why each resource
// of the configuration has it or not. It changes nothing. A configuration that
// cannot be used, on this node or at all, does not keep the node from being
// shown; it is the error.
func Explain(ctx context.Context, o Options, w io.Writer) error {
	file, configErr := readConfigFile(o.ConfigFile)
	journal, err := attachment.Open(o.StateDir, o.Proc)
	if err != nil {
		return err
	}
	host, err := netdev.CurrentNamespace()
	if err != nil {
		o.Log.Warn("cannot see the host's links", "err", err)
	}
	i := newInventory(o, journal, host)
	defer closeLater(host, i)
	seen, err := i.Read(ctx)
	if err != nil {
		return err
	}
	var text strings.Builder
	explainNode(&text, o.Node, seen.Devices)
	if configErr == nil {
		configErr = explainResources(&text, file, seen.Devices)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	if configErr != nil {
		return &ConfigError{configErr}
	}
	return nil
}

func explainNode(w *strings.Builder, node rdma.Node, devices []inventory.Device) {
	mode, err := rdma.SystemMode()
	if err != nil {
		fmt.Fprintf(w, "RDMA namespace mode: unknown (%v)\n\n", err)
	} else {
		fmt.Fprintf(w, "RDMA namespace mode: %s\n\n", mode)
	}
	rows := [][]string{{"RDMA", "NIC", "ADDRESS", "NUMA", "PCI ID", "DRIVER", "LINK", "PORT", "WHERE"}}
	shown := map[string]bool{}
	for _, d := range devices {
		for _, netdev := range d.Netdevs {
			shown[netdev] = true
		}
		port := "-"
		if d.Visible && len(d.Ports) > 0 {
			port = d.Ports[0].State
		}
		rows = append(rows, []string{
			d.Name, orDash(strings.Join(slices.Concat(d.Netdevs, d.AltNames), ",")), orDash(d.Address), strconv.Itoa(d.NUMANode),
			orDash(strings.Trim(d.Vendor+":"+d.DeviceID, ":")), orDash(d.Driver), orDash(d.LinkType), port, where(d),
		})
	}
	for _, nic := range node.HardwareNetdevs() {
		if !shown[nic] {
			_, address := node.NetdevAddress(nic)
			rows = append(rows, []string{"-", nic, address, "-", "-", "-", "-", "-", "host, no RDMA device"})
		}
	}
	align(w, rows)
}

// align writes rows with columns as wide as they need to be.
func align(w *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for n, cell := range row {
			widths[n] = max(widths[n], len(cell))
		}
	}
	for _, row := range rows {
		last := len(row) - 1
		for n, cell := range row[:last] {
			fmt.Fprintf(w, "%-*s  ", widths[n], cell)
		}
		w.WriteString(row[last] + "\n")
	}
}

func where(d inventory.Device) string {
	if d.Holder != nil {
		return string(d.Place) + ", " + d.Holder.Holder()
	}
	return string(d.Place)
}

func explainResources(w *strings.Builder, file *configFile, devices []inventory.Device) error {
	chosen, clashes := offer.Assign(file.Resources, devices)
	for _, r := range file.Resources {
		units := "rdmaHcaMax"
		if r.Mode == config.PerDevice {
			units = "unitsPerDevice"
		}
		fmt.Fprintf(w, "\n%s (%s, %s %d): %d of %d devices\n", r.Name, r.Mode, units, r.Units, len(chosen[r.Name]), len(devices))
		for _, d := range devices {
			verdict := offer.Mismatch(r, d)
			switch {
			case verdict == "" && !slices.ContainsFunc(chosen[r.Name], func(c inventory.Device) bool { return c.Key() == d.Key() }):
				fmt.Fprintf(w, "  out  %s: another resource has it\n", d)
			case verdict != "":
				fmt.Fprintf(w, "  out  %s: %s\n", d, verdict)
			default:
				state := "healthy"
				if why := offer.Ailment(d, r.HealthPolicy); why != "" {
					state = "unhealthy: " + why
				}
				fmt.Fprintf(w, "  in   %s: %s\n", d, state)
			}
		}
	}
	if len(clashes) > 0 {
		return clashes[0].Err(file.path)
	}
	return nil
}

// Validate checks a configuration file and prints all that is wrong with it,
// one mistake a line. It returns a ConfigError if anything is.
func Validate(file string, w io.Writer) error {
	c, _, err := config.Load(file)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s: good, %d resources\n", file, len(c.Resources))
		return err
	}
	all := config.Errors{}
	if !errors.As(err, &all) {
		return &ConfigError{err}
	}
	lines := make([]error, len(all))
	for n, e := range all {
		lines[n] = e
	}
	return &ConfigError{errors.Join(lines...)}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
