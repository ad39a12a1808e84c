package cluster

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// Install applies what a peer's authors would have users apply, but for
// DaemonSets: the programs that those would install are on the nodes already,
// and there is no registry for their images.
func (c *ControlPlane) Install(ctx context.Context, peer string) error {
	files, err := filepath.Glob(filepath.Join(c.peers, peer+"@*", "manifests", "*"))
	if err != nil {
		return err
	}
	// Those of a thick Multus are another way to have the same.
	files = slices.DeleteFunc(files, func(file string) bool { return strings.HasSuffix(file, thickSuffix) })
	if len(files) == 0 {
		return errors.New("no manifests of " + peer)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if _, err := c.Apply(ctx, withoutDaemonSets(string(b))); err != nil {
			return err
		}
	}
	return nil
}

func withoutDaemonSets(manifests string) string {
	daemonSet := regexp.MustCompile(`(?m)^kind: DaemonSet$`)
	var kept []string
	for _, document := range regexp.MustCompile(`(?m)^---$`).Split(manifests, -1) {
		if !daemonSet.MatchString(document) {
			kept = append(kept, document)
		}
	}
	return strings.Join(kept, "\n---\n")
}
