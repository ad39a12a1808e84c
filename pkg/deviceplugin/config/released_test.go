package config

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/test/fixtures/released"
)

// What a configuration says, defaults and all, is in the file beside it with the
// name .read.
func TestTheConfigurationsOfEveryReleaseMeanWhatTheyMeant(t *testing.T) {
	for _, pattern := range []string{"*.json", "*.yaml"} {
		for _, file := range released.Files(t, pattern) {
			c, err := parse("f", released.Text(t, file))
			if err != nil || len(c.Faults) > 0 {
				t.Errorf("%s: %v, %v", file, err, c)
				continue
			}
			released.Keeps(t, file, released.Text(t, file+".read"), c)
		}
	}
}
