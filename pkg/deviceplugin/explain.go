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
	"github.com/roce-k8s/roce-k8s/pkg/terminal"
)

// Explain prints every RDMA device and NIC of the node and why each resource
// of the configuration has it or not. It changes nothing. What is wrong with
// the configuration, on this node or at all, does not keep the node from being
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
	if host != nil {
		explainKernel(ctx, &text, host)
	}
	explainNode(&text, o.Node, seen.Devices)
	if configErr == nil {
		configErr = explainResources(&text, o.Node, file, seen.Devices)
	}
	if _, err := io.WriteString(w, text.String()); err != nil {
		return err
	}
	if configErr != nil {
		return &ConfigError{configErr}
	}
	return nil
}

// explainKernel prints a line for each feature that the kernel lacks.
func explainKernel(ctx context.Context, w *strings.Builder, host *netdev.Namespace) {
	missing, err := rdma.Missing(ctx, host)
	if err != nil {
		fmt.Fprintf(w, "Kernel: %v\n", err)
		return
	}
	for _, f := range missing {
		fmt.Fprintf(w, "This kernel lacks %s (Linux %s): %s\n", f.Name, f.Since, f.Cost)
	}
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
	_ = terminal.Table(w, rows) // a strings.Builder takes all
	for _, d := range devices {
		if h := d.Holder; h != nil && len(h.ManagerLacks) > 0 {
			fmt.Fprintf(w, "%s comes back from its pod late or with other metrics: %s lacks %s (docs/deploying.md)\n",
				h.Host.Name, h.Manager, strings.Join(h.ManagerLacks, ", "))
		}
	}
}

func where(d inventory.Device) string {
	if d.Holder != nil {
		return string(d.Place) + ", " + d.Holder.Holder()
	}
	return string(d.Place)
}

func explainResources(w *strings.Builder, node rdma.Node, file *configFile, devices []inventory.Device) error {
	_, connectionManager := node.ConnectionManager()
	chosen, clashes := offer.Assign(file.Resources, devices)
	for _, r := range file.Resources {
		units := "rdmaHcaMax"
		if r.Mode == config.PerDevice {
			units = "unitsPerDevice"
		}
		fmt.Fprintf(w, "\n%s (%s, %s %d): %d of %d devices\n", r.Name, r.Mode, units, r.Units, len(chosen[r.Name]), len(devices))
		for _, missing := range offer.Missing(r, chosen[r.Name], connectionManager) {
			fmt.Fprintf(w, "  but  containers will lack %s\n", missing)
		}
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
	for _, f := range file.Faults {
		fmt.Fprintf(w, "\n%s\n", describe(f))
	}
	wrong := file.Faults.Mistakes()
	for _, c := range clashes {
		wrong = append(wrong, c.Err(file.path))
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// describe is a fault with what the program does about it when it starts.
func describe(f *config.Error) string {
	switch f.Cost {
	case config.LeftOut:
		return f.Error() + " (the resource is left out)"
	case config.Ignored:
		return f.Error() + " (ignored)"
	}
	return f.Error() + " (valid all the same)"
}

// Validate checks a configuration file and prints all that is wrong with it,
// one mistake a line. It returns a ConfigError if anything is wrong, which also
// says what the program would do with the file.
func Validate(file string, w io.Writer) error {
	c, _, err := config.Load(file)
	var all config.Errors
	switch {
	case errors.As(err, &all):
		// A plugin does not start with it.
		return &ConfigError{errors.Join(lines(all, (*config.Error).Error)...)}
	case err != nil:
		return &ConfigError{err}
	case len(c.Faults.Mistakes()) > 0:
		var served []string
		for _, r := range c.Resources {
			served = append(served, r.Name)
		}
		return &ConfigError{errors.Join(append(lines(c.Faults, describe), fmt.Errorf(
			"%s: a plugin that starts with it serves %s and is not ready if a resource is left out; a running one keeps the configuration it has",
			file, strings.Join(served, ", ")))...)}
	}
	for _, note := range c.Faults {
		if _, err := fmt.Fprintln(w, describe(note)); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(w, "%s: valid, %d resources\n", file, len(c.Resources))
	return err
}

func lines(all config.Errors, line func(*config.Error) string) []error {
	each := make([]error, len(all))
	for n, e := range all {
		each[n] = errors.New(line(e))
	}
	return each
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
