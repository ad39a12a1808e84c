package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/claim"
	"github.com/roce-k8s/roce-k8s/pkg/policy"
)

// longestState bounds what is read of a container's state, in bytes.
const longestState = 1 << 20

// attached is a hook of the OCI runtime, which the DRA driver puts into what a
// claim adds to a container: it fails the container unless the pod's sandbox has
// all NICs of the claim. So a node whose network configuration lost the plugin has
// no pod that is ready without its NICs.
func attached(args []string, stdin io.Reader, policyFile, proc string) error {
	if len(args) != 1 {
		return errors.New("usage: roce-host-device attached CLAIM-UID, as a hook of an OCI runtime")
	}
	var container containerState
	if err := json.NewDecoder(io.LimitReader(stdin, longestState)).Decode(&container); err != nil {
		return fmt.Errorf("read the container's state: %w", err)
	}
	if isHosts, err := container.isInHostNetwork(); isHosts || err != nil {
		return err // it has the NICs that the host has
	}
	sandbox, err := container.sandbox()
	if err != nil {
		return err
	}
	rules, _ := policy.Load(policyFile) // of one that cannot be used the folder counts
	claims, bad, err := claim.List(rules.StateDir)
	if err != nil {
		return err
	}
	journal, err := attachment.Open(rules.StateDir, proc)
	if err != nil {
		return err
	}
	for _, c := range claims {
		if c.UID != args[0] {
			continue
		}
		missing, err := c.Missing(journal, sandbox)
		if err != nil || len(missing) == 0 {
			return err
		}
		return fmt.Errorf("pod %s has %d of the %d NICs of claim %s: %s is not in sandbox %s; is \"claims\" at the end of the node's CNI configuration?",
			c.Pod, len(c.Devices)-len(missing), len(c.Devices), c, missing[0].Address, sandbox)
	}
	return errors.Join(append(bad, fmt.Errorf("claim %s is not prepared on this node", args[0]))...)
}

// A containerState is what an OCI runtime tells its hooks.
type containerState struct {
	ID          string `json:"id"`
	Bundle      string `json:"bundle"` // the folder of the container's configuration
	Annotations struct {
		Containerd string `json:"io.kubernetes.cri.sandbox-id"`
		CRIO       string `json:"io.kubernetes.cri-o.SandboxID"`
	} `json:"annotations"`
}

// sandbox is the ID of the pod's sandbox, which CNI calls the container's.
func (c containerState) sandbox() (string, error) {
	sandbox := cmp.Or(c.Annotations.Containerd, c.Annotations.CRIO)
	if sandbox == "" {
		return "", fmt.Errorf("container %q has no annotation that names its sandbox; containerd and CRI-O set one", c.ID)
	}
	return sandbox, nil
}

// isInHostNetwork tells whether the container has no network namespace of its own
// or its pod's.
func (c containerState) isInHostNetwork() (bool, error) {
	b, err := os.ReadFile(filepath.Join(c.Bundle, "config.json"))
	if err != nil {
		return false, fmt.Errorf("read the configuration of container %q: %w", c.ID, err)
	}
	var spec struct {
		Linux struct {
			Namespaces []struct {
				Type string `json:"type"`
			} `json:"namespaces"`
		} `json:"linux"`
	}
	if err := json.Unmarshal(b, &spec); err != nil {
		return false, fmt.Errorf("read the configuration of container %q: %w", c.ID, err)
	}
	for _, namespace := range spec.Linux.Namespaces {
		if namespace.Type == "network" {
			return false, nil
		}
	}
	return true, nil
}
