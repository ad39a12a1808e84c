package exporter_test

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/exporter"
)

func TestWhatProtectsTheMetricsNeedsTLS(t *testing.T) {
	for _, tt := range []struct {
		access exporter.Access
		valid  bool
	}{
		{exporter.Access{}, true},
		{exporter.Access{TLSDir: "/tls"}, true},
		{exporter.Access{TLSDir: "/tls", ClientCA: "/ca", TokenFile: "/token"}, true},
		{exporter.Access{ClientCA: "/ca"}, false},
		{exporter.Access{TokenFile: "/token"}, false},
	} {
		if err := tt.access.Check(); (err == nil) != tt.valid {
			t.Errorf("%+v: %v", tt.access, err)
		}
	}
}
