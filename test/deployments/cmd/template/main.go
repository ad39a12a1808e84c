// Command template prints what `helm template` does of the project's chart, hooks
// and all, for where there is no helm:
//
//	template CHART [SET...]
package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
	"helm.sh/helm/v3/pkg/strvals"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: template CHART [SET...]")
		os.Exit(2)
	}
	if err := render(os.Stdout, os.Args[1], os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "template:", err)
		os.Exit(1)
	}
}

func render(w io.Writer, folder string, sets []string) error {
	chart, err := loader.Load(folder)
	if err != nil {
		return err
	}
	values := map[string]any{}
	for _, set := range sets {
		if err := strvals.ParseInto(set, values); err != nil {
			return err
		}
	}
	release := chartutil.ReleaseOptions{Name: "roce-k8s", Namespace: "kube-system", Revision: 1, IsInstall: true}
	rendering, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return err
	}
	files, err := engine.Render(chart, rendering)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			if _, err := fmt.Fprintf(w, "---\n%s\n", files[name]); err != nil {
				return err
			}
		}
	}
	return nil
}
