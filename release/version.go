package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"

	"sigs.k8s.io/yaml"
)

// chartFolder and the others are where the source says which version it is.
const (
	chartFolder  = "deployments/chart/roce-k8s"
	manifestFile = "deployments/base/daemonset.yaml"
	changelog    = "CHANGELOG.md"
)

// semantic is what a version looks like: semver.org, without build metadata, which
// no tag of an image can have.
const semantic = `(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z-]+(\.[0-9A-Za-z-]+)*)?`

// agree says where the source is not the version that is to be released.
func agree(source, version string) error {
	if !regexp.MustCompile(`^` + semantic + `$`).MatchString(version) {
		return fmt.Errorf("VERSION is %q; use a semantic version without a v, such as 1.2.0 or 1.2.0-rc.1", version)
	}
	said, err := versions(source)
	if err != nil {
		return err
	}
	var errs []error
	for _, s := range said {
		if s.version != version {
			errs = append(errs, fmt.Errorf("%s says %q, VERSION is %q: docs/releasing.md has the steps", s.place, s.version, version))
		}
	}
	return errors.Join(errs...)
}

// A saying is a place in the source with the version that it has.
type saying struct{ place, version string }

// versions are what the source says of its version, in every place.
func versions(source string) (said []saying, err error) {
	file := filepath.Join(source, chartFolder, "Chart.yaml")
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var chart struct{ Version, AppVersion string }
	if err := yaml.Unmarshal(b, &chart); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	said = append(said, saying{"the chart's version", chart.Version}, saying{"the chart's appVersion", chart.AppVersion})
	for _, in := range []struct{ file, pattern string }{
		{changelog, `(?m)^## (\d\S*)`}, // the newest comes first
		{manifestFile, `image: ghcr\.io/roce-k8s/roce-k8s:(\S+)`},
		{manifestFile, `app\.kubernetes\.io/version: "(\S+)"`},
		{"deployments/examples/perftest.yaml", `image: ghcr\.io/roce-k8s/rdma-tools:(\S+)`},
		{"deployments/examples/fabric-test/job.yaml", `image: ghcr\.io/roce-k8s/rdma-tools:(\S+)`},
		{"deployments/examples/fabric-test/cronjob.yaml", `image: ghcr\.io/roce-k8s/rdma-tools:(\S+)`},
	} {
		b, err := os.ReadFile(filepath.Join(source, in.file))
		if err != nil {
			return nil, err
		}
		found := regexp.MustCompile(in.pattern).FindAllStringSubmatch(string(b), -1)
		if len(found) == 0 {
			return nil, fmt.Errorf("%s has no %s", in.file, in.pattern)
		}
		if in.file == changelog {
			found = found[:1]
		}
		for _, match := range found {
			said = append(said, saying{in.file, match[1]})
		}
	}
	return said, nil
}
