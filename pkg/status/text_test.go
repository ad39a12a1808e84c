package status

import (
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func TestADeviceThatTwoResourcesSelectIsAMistakeOfTheConfiguration(t *testing.T) {
	var b strings.Builder
	s := &Status{Plugin: &Plugin{Version: "v1.2.3", Mistakes: 1, Clashes: 2}}
	if err := s.Text(&b); err != nil || !strings.Contains(b.String(), "mistakes in its configuration: 3\n") {
		t.Errorf("%v in\n%s", err, b.String())
	}
}

func TestTheStatusSaysHowManyLimitsTheMemlockPluginRaised(t *testing.T) {
	const metrics = `# TYPE rdma_device_plugin_memlock_connected gauge
rdma_device_plugin_memlock_connected 1
# TYPE rdma_device_plugin_memlock_containers_total counter
rdma_device_plugin_memlock_containers_total{result="raised"} 3
rdma_device_plugin_memlock_containers_total{result="kept"} 1
`
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(metrics))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	s := &Status{Plugin: pluginOf(families)}
	if err := s.Text(&b); err != nil || !strings.Contains(b.String(), "Memlock plugin: connected; limits raised since its start: 3, left as they were: 1\n") {
		t.Errorf("%v in\n%s", err, b.String())
	}
}
