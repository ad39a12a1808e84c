package main

import (
	"encoding/json"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"helm.sh/helm/v3/pkg/chart/loader"
	"sigs.k8s.io/yaml"
)

// A chart in a registry: https://helm.sh/docs/topics/registries, "Helm chart manifest".
const (
	chartConfigType = "application/vnd.cncf.helm.config.v1+json"
	chartType       = "application/vnd.cncf.helm.chart.content.v1.tar+gzip"
)

// chart is the chart as an artefact of a registry, and the archive in it.
// `helm package` would put the time of day into it.
func (b build) chart() (v1.Image, []byte, error) {
	files, err := chartFiles(filepath.Join(b.source, chartFolder))
	if err != nil {
		return nil, nil, err
	}
	packed, err := archive(product, files, b.date)
	if err != nil {
		return nil, nil, err
	}
	var metadata map[string]any
	if err := yaml.Unmarshal(files.files["Chart.yaml"].content, &metadata); err != nil {
		return nil, nil, err
	}
	config, err := json.Marshal(metadata)
	if err != nil {
		return nil, nil, err
	}
	image, err := mutate.Append(
		mutate.MediaType(empty.Image, types.OCIManifestSchema1),
		mutate.Addendum{Layer: static.NewLayer(packed, chartType), MediaType: chartType},
	)
	if err != nil {
		return nil, nil, err
	}
	image, err = withConfig(image, config, chartConfigType)
	return image, packed, err
}

// chartFiles are what Helm reads of a chart's folder, without what .helmignore
// leaves out.
func chartFiles(folder string) (*tree, error) {
	chart, err := loader.LoadDir(folder)
	if err != nil {
		return nil, err
	}
	t := &tree{map[string]file{}}
	for _, f := range chart.Raw {
		t.files[f.Name] = file{0o644, f.Data}
	}
	return t, nil
}
