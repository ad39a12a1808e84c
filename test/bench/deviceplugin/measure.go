package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"time"

	"github.com/roce-k8s/roce-k8s/test/bench/report"
	"github.com/roce-k8s/roce-k8s/test/standin/kubelet"
)

// The resource that both offer, and how much of it.
const (
	resource = "rdma/hca"
	units    = 8
)

const (
	// rescans is how many of the rescans, one a second, are measured.
	rescans = 10
	// settle is the time from the registration until the other plugin is ready
	// for SIGTERM.
	settle = 500 * time.Millisecond
	// theirRounds is how often to do with the other plugin what takes seconds.
	theirRounds = 3
)

// result is what one run with one number of HCAs gave.
type result struct{ Ours, Theirs figures }

// figures are one program's: times in ms, sizes in MB. What was not measured
// is 0.
type figures struct {
	Start                    report.Figure
	LeanStart                report.Figure // with usualSize: with next to no PCI ID database
	Nothing                  report.Figure // with usualSize: a process that only says its version
	Rescan                   float64
	Restart, Stop            report.Figure // with usualSize
	RSS, Binary              float64       // with usualSize
	AllocateP50, AllocateP99 float64       // with busySize
}

func measure(o options, size int, out io.Writer) error {
	if err := makeNode(size); err != nil {
		return err
	}
	if err := installPCIIDs(o.PCIIDs); err != nil {
		return err
	}
	k, err := kubelet.Start(kubeletFolder, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer k.Close()
	theirs := []string{o.Theirs, "-config-file=" + configFile}
	ours := []string{o.Ours, "--config-file=" + configFile, "--state-dir=/var/lib/state"}
	r := result{}
	startRounds := o.Rounds
	if size > busySize {
		startRounds = max(theirRounds, o.Rounds/4) // theirs take seconds
	}
	if r.Ours.Start, r.Theirs.Start, err = starts(k, ours, theirs, startRounds); err != nil {
		return err
	}
	for i, f := range []*figures{&r.Ours, &r.Theirs} {
		rounds := []int{o.Rounds, theirRounds}[i]
		if err := f.measure(k, [][]string{ours, theirs}[i], size, rounds); err != nil {
			return err
		}
	}
	if size == usualSize {
		if r.Ours.Nothing, err = nothing(o.Ours, o.Rounds); err != nil {
			return err
		}
		if err := leanPCIIDs(); err != nil {
			return err
		}
		if r.Ours.LeanStart, r.Theirs.LeanStart, err = starts(k, ours, theirs, startRounds); err != nil {
			return err
		}
	}
	return json.NewEncoder(out).Encode(r)
}

// starts measures how long both take until the kubelet has their units; in
// turns, so that a busy machine is busy for both.
func starts(k *kubelet.Kubelet, ours, theirs []string, rounds int) (our, their report.Figure, err error) {
	var all [2][]float64
	for range rounds {
		for i, program := range [][]string{ours, theirs} {
			p, took, err := start(k, program)
			if err != nil {
				return our, their, err
			}
			all[i] = append(all[i], ms(took))
			_ = p.cmd.Process.Kill() // the end of theirs takes seconds
			_ = p.cmd.Wait()
			if err := wait(k, 0); err != nil {
				return our, their, err
			}
		}
	}
	return report.Of(all[0]), report.Of(all[1]), nil
}

// nothing measures a process of the program that loads, says its version and
// ends: what no order of its work could save.
func nothing(program string, rounds int) (report.Figure, error) {
	var took []float64
	for range rounds {
		begin := time.Now()
		if err := exec.Command(program, "--version").Run(); err != nil { //nolint:gosec // what we measure
			return report.Figure{}, fmt.Errorf("%s --version: %w", program, err)
		}
		took = append(took, ms(time.Since(begin)))
	}
	return report.Of(took), nil
}

// measure fills in what takes one life of a program, or a few.
func (f *figures) measure(k *kubelet.Kubelet, program []string, size, rounds int) error {
	p, _, err := start(k, program)
	if err != nil {
		return err
	}
	before, err := p.cpu()
	if err != nil {
		return err
	}
	time.Sleep(rescans * time.Second)
	after, err := p.cpu()
	if err != nil {
		return err
	}
	f.Rescan = ms(after-before) / rescans
	if f.RSS, err = p.rss(); err != nil {
		return err
	}
	if size == busySize {
		if err := f.allocate(k); err != nil {
			return err
		}
	}
	if size != usualSize {
		_, err := p.stop()
		return err
	}
	var restarts, stops []float64
	for range rounds {
		if err := k.Restart(); err != nil {
			return err
		}
		begin := time.Now()
		if err := wait(k, units); err != nil {
			return fmt.Errorf("%w\n%s", err, &p.log)
		}
		restarts = append(restarts, ms(time.Since(begin)))
	}
	f.Restart = report.Of(restarts)
	for range rounds {
		time.Sleep(settle)
		took, err := p.stop()
		if err != nil {
			return err
		}
		stops = append(stops, ms(took))
		if err := wait(k, 0); err != nil {
			return err
		}
		if p, _, err = start(k, program); err != nil {
			return err
		}
	}
	f.Stop = report.Of(stops)
	time.Sleep(settle)
	_, err = p.stop()
	return err
}

// allocate measures the calls of some seconds, with a rescan in each.
func (f *figures) allocate(k *kubelet.Kubelet) error {
	var took []float64
	for end := time.Now().Add(rescans * time.Second); time.Now().Before(end); time.Sleep(200 * time.Microsecond) {
		begin := time.Now()
		_, ids, err := k.Allocate(resource, 1)
		if err != nil {
			return err
		}
		took = append(took, ms(time.Since(begin)))
		k.Free(resource, ids...)
	}
	f.AllocateP50, f.AllocateP99 = report.Quantile(took, 50), report.Quantile(took, 99)
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
