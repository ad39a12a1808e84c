package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/roce-k8s/roce-k8s/pkg/bundle"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/doctor"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
	"github.com/roce-k8s/roce-k8s/pkg/status"
)

const (
	mostOfFile = 1 << 20 // bytes of each log and record
	mostFiles  = 256     // of each kind
)

// pack writes what support asks for first.
func (c *commandLine) pack(ctx context.Context, report *doctor.Report, stdout io.Writer) error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	now := time.Now().UTC()
	write := func(w io.Writer) error {
		return bundle.Write(w, "roce-k8s-"+name+"-"+now.Format("20060102T150405Z"), now, c.parts(ctx, report))
	}
	if c.doctor.bundle == stdio {
		return write(stdout)
	}
	if err := newFile(c.doctor.bundle, write); err != nil {
		return fmt.Errorf("pack the bundle: %w", err)
	}
	return nil
}

// newFile makes a file that is root's alone. What was there before stays: it may
// be what somebody wants to compare with, or a link that somebody has put there.
func newFile(path string, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

func (c *commandLine) parts(ctx context.Context, report *doctor.Report) []bundle.Part {
	host := func(path string) string { return filepath.Join(c.doctor.hostRoot, path) }
	current, err := c.look(ctx)
	printed := func(print func(*status.Status, io.Writer) error) func(io.Writer) error {
		return func(w io.Writer) error {
			if err != nil {
				return err
			}
			return print(current, w)
		}
	}
	parts := []bundle.Part{
		{Name: "versions.txt", Write: func(w io.Writer) error { return c.versions(ctx, w) }},
		{Name: "doctor.txt", Write: report.WriteTable},
		{Name: "doctor.json", Write: report.WriteJSON},
		{Name: "status.txt", Write: printed((*status.Status).Text)},
		{Name: "status.json", Write: printed((*status.Status).JSON)},
		{Name: "explain.txt", Write: func(w io.Writer) error { return deviceplugin.Explain(ctx, c.Options, w) }},
		{Name: "metrics.txt", Write: func(w io.Writer) error { return c.metrics(ctx, w) }},
		{Name: "kernel.log", Write: kernelLog},
		{Name: "config", Write: bundle.Tail(c.ConfigFile, mostOfFile)},
	}
	for _, files := range []struct{ pattern, below string }{
		{host(policy.File), filepath.Dir(host(policy.File))},
		{filepath.Join(c.StateDir, "*", "*"), filepath.Dir(c.StateDir)}, // the journal, with copies, locks and what is owed
		{host("var/log/pods/*_roce-k8s-*/*/*.log"), host("var/log/pods")},
	} {
		found, err := filepath.Glob(files.pattern)
		if err != nil {
			parts = append(parts, bundle.Part{Name: files.pattern, Write: func(io.Writer) error { return err }})
		}
		for _, path := range found[:min(len(found), mostFiles)] {
			parts = append(parts, bundle.Part{Name: strings.TrimPrefix(path, files.below+"/"), Write: bundle.Tail(path, mostOfFile)})
		}
	}
	return parts
}

// versions says what runs on the node.
func (c *commandLine) versions(ctx context.Context, w io.Writer) error {
	plugin, pluginErr := doctor.AskVersion(ctx, filepath.Join(c.pluginDir, "roce-host-device"))
	var kernel unix.Utsname
	if err := unix.Uname(&kernel); err != nil {
		return err
	}
	system, systemErr := os.ReadFile(filepath.Join(c.doctor.hostRoot, "etc/os-release"))
	_, err := fmt.Fprintf(w, "rdma-device-plugin %s\nroce-host-device %s\nLinux %s %s\n\n%s",
		c.Version, plugin, unix.ByteSliceToString(kernel.Release[:]), unix.ByteSliceToString(kernel.Version[:]), system)
	return errors.Join(pluginErr, systemErr, err)
}

// metrics are the running instance's.
func (c *commandLine) metrics(ctx context.Context, w io.Writer) error {
	text, err := status.AskMetrics(ctx, c.MetricsAddress, c.ProbeSocket)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, text)
	return err
}

// kernelLog is what the kernel's log ends with. It needs SYSLOG where the sysctl
// kernel.dmesg_restrict is set.
func kernelLog(w io.Writer) error {
	log := make([]byte, mostOfFile)
	n, err := unix.Klogctl(unix.SYSLOG_ACTION_READ_ALL, log)
	if err != nil {
		return fmt.Errorf("read the kernel's log: %w", err)
	}
	_, err = w.Write(log[:n])
	return err
}
