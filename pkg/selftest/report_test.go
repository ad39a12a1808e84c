package selftest

import (
	"errors"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestAReportFailsIfAStepDidAndNotIfOneWasSkipped(t *testing.T) {
	for name, tt := range map[string]struct {
		steps []error
		want  string
		err   error
	}{
		"all well":     {[]error{nil, nil}, "PASSED: 2 steps, 0 skipped", nil},
		"one skipped":  {[]error{nil, skip("no second NIC")}, "PASSED: 1 steps, 1 skipped", nil},
		"one failed":   {[]error{nil, skip("x"), errors.New("no")}, "FAILED: 1 of 3 steps", ErrFailed},
		"and its text": {[]error{&refusal{112, "it is a port of br0", "nothing was changed"}}, "code 112: it is a port of br0; nothing was changed", ErrFailed},
	} {
		var text strings.Builder
		r := &report{w: &text}
		for _, err := range tt.steps {
			if ok := r.step("step", func() error { return err }); ok != (err == nil) {
				t.Errorf("%s: %v is %v", name, err, ok)
			}
		}
		if err := r.verdict(); !errors.Is(err, tt.err) || !strings.Contains(text.String(), tt.want) {
			t.Errorf("%s: %v\n%swant %q", name, err, &text, tt.want)
		}
	}
}

func TestAReportTellsWhatTheKernelHasFromWhatItLacksAndWhatNobodyKnows(t *testing.T) {
	var text strings.Builder
	(&report{w: &text}).features([]netdev.Feature{
		{Name: "names", Support: netdev.Unsupported},
		{Name: "lists", Support: netdev.Supported},
		{Name: "modes", Support: netdev.Unknown},
		{Name: "messages", Support: netdev.Supported},
	})
	if want := "has         lists, messages\nlacks       names\nmay have    modes\n"; text.String() != want {
		t.Errorf("%q\nwant %q", text.String(), want)
	}
}

func TestADifferenceSaysWhatIsAndWhatWas(t *testing.T) {
	before := view{"mtu": "9000", "alias": `"rail"`, "up": "true"}
	if err := before.differences(view{"mtu": "9000", "alias": `"rail"`, "up": "true"}); err != nil {
		t.Errorf("of the same: %v", err)
	}
	err := before.differences(view{"mtu": "1500", "up": "true", "routes": "[1]"})
	if want := `alias is nothing, was "rail"; mtu is 1500, was 9000; routes is [1], was nothing`; err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
