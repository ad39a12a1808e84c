package status

import (
	"strings"
	"testing"
)

func TestADeviceThatTwoResourcesSelectIsAMistakeOfTheConfiguration(t *testing.T) {
	var b strings.Builder
	s := &Status{Plugin: &Plugin{Version: "v1.2.3", Mistakes: 1, Clashes: 2}}
	if err := s.Text(&b); err != nil || !strings.Contains(b.String(), "mistakes in its configuration: 3\n") {
		t.Errorf("%v in\n%s", err, b.String())
	}
}
