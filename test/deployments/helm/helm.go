// Package helm renders the project's chart as `helm template` does, for where there
// is no helm.
//
// It knows Helm's library. It must not know what is in the chart.
package helm

import (
	"maps"
	"slices"
	"strings"

	"helm.sh/helm/v3/pkg/chart/loader"
	"helm.sh/helm/v3/pkg/chartutil"
	"helm.sh/helm/v3/pkg/engine"
)

// Template is `helm template -n kube-system` of a chart in a folder: one YAML stream
// with the hooks. The error is what a user sees.
func Template(folder string, values map[string]any) (string, error) {
	chart, err := loader.Load(folder)
	if err != nil {
		return "", err
	}
	release := chartutil.ReleaseOptions{Name: "roce-k8s", Namespace: "kube-system", Revision: 1, IsInstall: true}
	rendering, err := chartutil.ToRenderValues(chart, values, release, chartutil.DefaultCapabilities)
	if err != nil {
		return "", err
	}
	files, err := engine.Render(chart, rendering)
	if err != nil {
		return "", err
	}
	var manifests strings.Builder
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			manifests.WriteString("---\n" + files[name] + "\n")
		}
	}
	return manifests.String(), nil
}
