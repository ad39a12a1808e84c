package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin"
	"github.com/roce-k8s/roce-k8s/pkg/doctor"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/status"
)

// What the command doctor exits with. That nothing could be looked at is told
// from what was found.
const (
	exitWarnings = 1
	exitBroken   = 2
	exitBlind    = 3
)

// stdio is the standard stream in place of a file.
const stdio = "-"

// A doctorLine is the flags that the command doctor has to itself.
type doctorLine struct {
	json, brief   bool
	failOn        string
	ignore        string
	hostRoot      string
	networks      string
	kubeletConfig string
	nfdFeatures   string
	counters      string
	bundle        string
}

func ofDoctor(line *commandLine, flags *flag.FlagSet) {
	d := &line.doctor
	flags.BoolVar(&d.json, "json", false, "print the report as JSON")
	flags.BoolVar(&d.brief, "brief", false, "print one line, with the worst")
	flags.StringVar(&d.failOn, "fail-on", "warning", "what to exit with another status than 0 for, warning or broken")
	flags.StringVar(&d.ignore, "ignore", "", "`checks` to leave out, separated by commas")
	flags.StringVar(&d.hostRoot, "host-root", "/", "where the host's proc, etc, run and usr/lib are")
	flags.StringVar(&d.networks, "networks", "", "a `file` with NetworkAttachmentDefinitions; - for standard input")
	flags.StringVar(&d.kubeletConfig, "kubelet-config", "", "the kubelet's configuration `file`, or its configz; default config.yaml in --kubelet-dir")
	flags.StringVar(&d.counters, "counters", "", "a `file` to keep what was counted in until the next run")
	flags.StringVar(&d.bundle, "bundle", "", "a `file` to pack for support: the report, status, explain, journal, versions and logs, without secrets; - for standard output")
	flags.StringVar(&d.nfdFeatures, "nfd-features", "", "a `file` to write features to, for node-feature-discovery")
}

// runDoctor examines the node.
func runDoctor(ctx context.Context, c *commandLine, s streams) (status int, err error) {
	report, err := c.examine(ctx, s.in)
	if err == nil && c.doctor.nfdFeatures != "" {
		err = report.WriteFeatures(c.doctor.nfdFeatures)
	}
	if err == nil && c.doctor.counters != "" {
		err = report.WriteCounters(c.doctor.counters)
	}
	if err == nil && c.doctor.bundle != "" {
		err = c.pack(ctx, report, s.out)
	}
	if err == nil && c.doctor.bundle != stdio {
		write := report.WriteTable
		switch {
		case c.doctor.json:
			write = report.WriteJSON
		case c.doctor.brief:
			write = report.WriteBrief
		}
		err = write(s.out)
	}
	switch {
	case err != nil:
		return exitBlind, err
	case report.Verdict == doctor.VerdictBroken:
		return exitBroken, nil
	case report.Verdict == doctor.VerdictWarnings && c.doctor.failOn == string(doctor.Warning):
		return exitWarnings, nil
	}
	return 0, nil
}

// askMemlock asks the device plugin how the memlock plugin is.
func (c *commandLine) askMemlock(ctx context.Context) (doctor.Memlock, error) {
	c.findInstance(servedSocket)
	p, err := status.AskPlugin(ctx, c.MetricsAddress, c.ProbeSocket)
	if err != nil || p.Memlock == nil {
		return doctor.Memlock{}, err
	}
	return doctor.Memlock{Wanted: true, Connected: p.Memlock.Connected}, nil
}

func (c *commandLine) examine(ctx context.Context, stdin io.Reader) (*doctor.Report, error) {
	d := c.doctor
	if d.failOn != string(doctor.Warning) && d.failOn != string(doctor.Broken) {
		return nil, fmt.Errorf("--fail-on=%s: use warning or broken", d.failOn)
	}
	host := func(path string) string { return filepath.Join(d.hostRoot, path) }
	o := doctor.Options{
		Roots:    doctor.Roots{Sys: c.Node.Sys, Dev: c.Node.Dev, Proc: host("proc"), Etc: host("etc"), Run: host("run"), Lib: host("usr/lib")},
		StateDir: c.StateDir, PluginDir: c.pluginDir, KubeletConfig: d.kubeletConfig, NICs: c.rest, Version: c.Version,
		Counters:      d.counters,
		PluginVersion: doctor.AskVersion,
		Memlock:       c.askMemlock,
	}
	if o.KubeletConfig == "" {
		o.KubeletConfig = host(filepath.Join(c.KubeletDir, "config.yaml"))
	}
	if d.ignore != "" {
		o.Ignore = strings.Split(d.ignore, ",")
	}
	switch d.networks {
	case "":
	case stdio:
		o.Networks = stdin
	default:
		f, err := os.Open(d.networks)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		o.Networks = f
	}
	choice, err := deviceplugin.ReadChoice(c.ConfigFile)
	if err != nil {
		return nil, err
	}
	if choice != nil {
		o.Choose, o.Together = choice.Of, choice.Together()
	}
	here, err := netdev.CurrentNamespace()
	if err != nil {
		return nil, errors.Join(errors.New("cannot see the host's links"), err)
	}
	defer here.Close()
	o.Links, o.Elsewhere, o.DCB = here.Links, here.LinksElsewhere, here.DCB
	return doctor.Examine(ctx, o)
}
