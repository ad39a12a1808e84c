// Command mutation changes the code in one place at a time, as a mistake would,
// and tells whether a test notices.
//
//	mutation [FILE | PATTERN]...
//
// The mistakes are in the files *.txt beside this one. Arguments are names of
// these files, without the ending, or regular expressions for the mutations'
// first lines; without any, all are tried. A change that no test notices, a text
// that is no longer there exactly once and a change that does not compile are
// failures.
//
// Nothing is written to the source: the go command is told to take another file
// in the place of the changed one (-overlay).
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// patience is how long the tests of one mutation may take, in the lab, too, where
// a machine boots first. One that hangs is noticed, too.
const patience = 10 * time.Minute

func main() {
	all, err := load("test/mutation")
	if err == nil {
		all, err = chosen(all, os.Args[1:])
	}
	if err == nil {
		err = try(all)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutation:", err)
		os.Exit(1)
	}
}

// chosen are the mutations that the arguments name.
func chosen(all []mutation, args []string) (some []mutation, err error) {
	if len(args) == 0 {
		return all, nil
	}
	for _, arg := range args {
		pattern, err := regexp.Compile(arg)
		if err != nil {
			return nil, err
		}
		isList := slices.ContainsFunc(all, func(m mutation) bool { return m.list == arg })
		before := len(some)
		for _, m := range all {
			if isList && m.list == arg || !isList && pattern.MatchString(m.String()) {
				some = append(some, m)
			}
		}
		if len(some) == before {
			return nil, fmt.Errorf("no mutation is %q", arg)
		}
	}
	return some, nil
}

// try tries mutations and prints what became of each.
func try(all []mutation) error {
	dir, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	peers, err := filepath.Abs(".cache/peers")
	if err != nil {
		return err
	}
	t := trial{dir: dir, overlay: filepath.Join(dir, "overlay.json"), peers: peers}
	if err := t.unchanged(all); err != nil {
		return err
	}
	caught := 0
	for _, m := range all {
		begin := time.Now()
		by, err := t.mutate(m)
		switch {
		case err != nil:
			fmt.Printf("%v\n  %s: %s\n", err, m.at, m)
		case by == "":
			fmt.Printf("NOT CAUGHT\n  %s: %s\n", m.at, m)
		default:
			caught++
			fmt.Printf("caught  %s  (%s, %.0f s)\n", m, by, time.Since(begin).Seconds())
		}
	}
	fmt.Printf("%d of %d caught\n", caught, len(all))
	if caught < len(all) {
		return errors.New("see above")
	}
	return nil
}

// A trial is where the changed code is built and tested.
type trial struct {
	dir, overlay, peers string
}

// unchanged runs the tests of all mutations on the code as it is: one that fails
// anyhow notices nothing.
func (t trial) unchanged(all []mutation) error {
	patterns := map[check][]string{} // by package; "" is every test
	for _, m := range all {
		for _, c := range m.tests {
			of := check{lab: c.lab, pkg: c.pkg}
			patterns[of] = append(patterns[of], c.pattern)
		}
	}
	if err := t.replace("", ""); err != nil {
		return err
	}
	for c, some := range patterns {
		if !slices.Contains(some, "") {
			slices.Sort(some)
			c.pattern = strings.Join(slices.Compact(some), "|")
		}
		by, err := t.test(c)
		if err != nil {
			return err
		}
		if by != "" {
			return fmt.Errorf("%s fails on the code as it is, and so would notice nothing", by)
		}
	}
	return nil
}

// mutate tells by which test a mutation is noticed, "" for none.
func (t trial) mutate(m mutation) (by string, err error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", err
	}
	if n := strings.Count(string(source), m.before); n != 1 {
		return "", fmt.Errorf("NO LONGER APPLIES: the text is there %d times", n)
	}
	if err := t.replace(m.file, strings.Replace(string(source), m.before, m.after, 1)); err != nil {
		return "", err
	}
	if out, err := t.run("go", "build", "-overlay", t.overlay, "-o", os.DevNull, "./"+filepath.Dir(m.file)); err != nil {
		return "", fmt.Errorf("DOES NOT COMPILE: %s", bytes.TrimSpace(out))
	}
	for _, c := range m.tests {
		if by, err = t.test(c); by != "" || err != nil {
			return by, err
		}
	}
	return "", nil
}

// replace has the go command see another content of a file, "" for none.
func (t trial) replace(file, content string) error {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	if file != "" {
		path, err := filepath.Abs(file)
		if err != nil {
			return err
		}
		changed := filepath.Join(t.dir, "changed.go")
		overlay.Replace[path] = changed
		if err := os.WriteFile(changed, []byte(content), 0o600); err != nil {
			return err
		}
	}
	b, err := json.Marshal(overlay)
	if err != nil {
		return err
	}
	return os.WriteFile(t.overlay, b, 0o600)
}

// test runs tests and returns the first that failed, "" if none did.
func (t trial) test(c check) (failed string, err error) {
	if strings.HasPrefix(c.pkg, "./test/") || c.lab != "" { // it runs the programs
		if out, err := t.run("go", "build", "-overlay", t.overlay, "-o", t.bin()+"/", "./cmd/..."); err != nil {
			return "", fmt.Errorf("the programs: %s", bytes.TrimSpace(out))
		}
	}
	command := []string{"go", "test", "-overlay", t.overlay, "-vet=off", "-count=1", "-failfast", "-timeout=2m", "-run", c.pattern, c.pkg}
	if c.lab != "" {
		command = []string{"env", "ROCE_TEST_REQUIRE=lab", "GOFLAGS=-buildvcs=false -overlay=" + t.overlay,
			"test/lab-tests", t.cniPath(), strings.TrimPrefix(c.pkg, "./"), c.lab, c.pattern}
	}
	out, err := t.run(command[0], command[1:]...)
	if bytes.Contains(out, []byte("[build failed]")) || bytes.Contains(out, []byte("no tests to run")) {
		return "", fmt.Errorf("the tests: %s", bytes.TrimSpace(out))
	}
	if err == nil {
		return "", nil
	}
	failed = c.pkg + " ended: " + err.Error()
	if names := regexp.MustCompile(`(?m)^ *--- FAIL: (\S+)`).FindAllSubmatch(out, -1); names != nil {
		failed = string(names[len(names)-1][1])
	}
	return failed, nil
}

func (t trial) bin() string { return filepath.Join(t.dir, "bin") }

// cniPath is the folders with the programs under test, and with the peers.
func (t trial) cniPath() string { return t.bin() + ":" + t.peers + "/cni" }

// run runs a command to its end, and ends what it leaves behind.
func (t trial) run(name string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "ROCE_TEST_REQUIRE=netns,plugins,peers",
		"ROCE_PEERS_DIR="+t.peers, "ROCE_CNI_PATH="+t.cniPath())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	end := func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.Cancel, cmd.WaitDelay = end, time.Second
	out, err := cmd.CombinedOutput()
	if cmd.Process != nil {
		_ = end()
	}
	return out, err
}
