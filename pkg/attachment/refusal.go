package attachment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/roce-k8s/roce-k8s/pkg/trusted"
)

// Refuse remembers that a pod must not get a NIC, whoever asks again: the
// runtime retries a failed ADD with a new container ID, but what went wrong
// lies with the pod itself. Without the pod's UID, which runtimes pass since
// Kubernetes 1.21, nothing can be remembered.
func (j *Journal) Refuse(pod Pod, reason string) error {
	path := j.refusal(pod)
	if path == "" {
		return nil
	}
	if err := put(path, []byte(j.bootID+"\n"+reason)); err != nil {
		return fmt.Errorf("remember a refusal: %w", err)
	}
	return j.forgetRefusals(filepath.Dir(path))
}

// Refused returns why a pod must not get a NIC, "" if it may.
func (j *Journal) Refused(pod Pod) (reason string, err error) {
	path := j.refusal(pod)
	if path == "" {
		return "", nil
	}
	b, err := trusted.ReadFile(path, longestRecord)
	if trusted.Transient(err) {
		return "", fmt.Errorf("look for a refusal: %w", err)
	}
	// Whatever else cannot be read is not a refusal of ours.
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
		if b, err := trusted.ReadFile(path, longestRecord); err == nil && !strings.HasPrefix(string(b), j.bootID+"\n") {
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
