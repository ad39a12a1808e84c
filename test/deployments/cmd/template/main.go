// Command template prints what `helm template` does of the project's chart, hooks
// and all, for where there is no helm:
//
//	template CHART [SET...]
package main

import (
	"fmt"
	"io"
	"os"

	"helm.sh/helm/v3/pkg/strvals"

	"github.com/roce-k8s/roce-k8s/test/deployments/helm"
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
	values := map[string]any{}
	for _, set := range sets {
		if err := strvals.ParseInto(set, values); err != nil {
			return err
		}
	}
	manifests, err := helm.Template(folder, values)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, manifests)
	return err
}
