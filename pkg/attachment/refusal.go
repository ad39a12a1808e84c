package attachment

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Refuse remembers that a pod must not get a NIC, whoever asks again: the
// runtime tries a failed ADD again with a new container ID, though what went
// wrong lies with the pod itself. Without the pod's UID, which runtimes pass
// since Kubernetes 1.21, nothing can be remembered.
func (j *Journal) Refuse(pod Pod, reason string) error {
	path := j.refusal(pod)
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("remember a refusal: %w", err)
	}
	if err := os.WriteFile(path, []byte(j.bootID+"\n"+reason), 0o600); err != nil {
		return fmt.Errorf("remember a refusal: %w", err)
	}
	return j.forgetRefusals(dir)
}

// Refused returns why a pod must not get a NIC, "" if it may.
func (j *Journal) Refused(pod Pod) (reason string, err error) {
	path := j.refusal(pod)
	if path == "" {
		return "", nil
	}
	b, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("look for a refusal: %w", err)
	}
	boot, reason, _ := strings.Cut(string(b), "\n")
	if boot != j.bootID {
		return "", nil
	}
	return reason, nil
}

// forgetRefusals removes those of earlier boots, after which the kubelet admits
// its pods anew.
func (j *Journal) forgetRefusals(dir string) error {
	entries, err := os.ReadDir(dir)
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if b, err := os.ReadFile(path); err == nil && !strings.HasPrefix(string(b), j.bootID+"\n") {
			errs = append(errs, os.Remove(path))
		}
	}
	return errors.Join(append(errs, err)...)
}

// refusal is the file of a pod's refusal, "" for a pod without a UID.
func (j *Journal) refusal(pod Pod) string {
	if pod.UID == "" || strings.Trim(pod.UID, "0123456789abcdefABCDEF-") != "" {
		return ""
	}
	return filepath.Join(j.dir, "refused", pod.UID)
}
