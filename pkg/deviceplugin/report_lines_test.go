package deviceplugin

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/config"
	"github.com/roce-k8s/roce-k8s/pkg/deviceplugin/offer"
	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// bareLog writes lines without their time.
func bareLog(w io.Writer) *slog.Logger {
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
}

func TestAResourcesDevicesAreLoggedAtFirstAndThenWhatChanges(t *testing.T) {
	var log strings.Builder
	m, e := &manager{log: bareLog(&log)}, &entry{config: config.Resource{Name: "rdma/a", Mode: config.Shared}}
	device := func(name string, place inventory.Place, holder *attachment.Record) offer.Candidate {
		return offer.Candidate{Device: inventory.Device{Device: rdma.Device{Name: name, Bus: rdma.BusPCI, Address: name}, Place: place, Holder: holder}}
	}
	held := &attachment.Record{ContainerID: "c1", IfName: "net1"}
	for _, step := range []struct {
		devices []offer.Candidate
		want    string
	}{
		{[]offer.Candidate{device("a", inventory.OnHost, nil), device("b", inventory.InPod, nil), device("c", inventory.Gone, nil), device("d", inventory.OnHost, nil)},
			`level=INFO msg=devices resource=rdma/a mode=shared devices=4 onHost="a (a) d (d)" inPods="b (b)" gone="c (c)"`},
		{[]offer.Candidate{device("a", inventory.OnHost, nil), device("b", inventory.InPod, nil), device("c", inventory.Gone, nil), device("d", inventory.OnHost, nil)}, ""},
		{[]offer.Candidate{device("a", inventory.InPod, held), device("b", inventory.OnHost, nil), device("c", inventory.Gone, nil), device("d", inventory.OnHost, nil)},
			`level=INFO msg="device moved" resource=rdma/a device="a (a)" place=pod was=host holder="container c1, interface net1"` + "\n" +
				`level=INFO msg="device moved" resource=rdma/a device="b (b)" place=host was=pod`},
		{[]offer.Candidate{device("a", inventory.InPod, held), device("b", inventory.OnHost, nil), device("d", inventory.OnHost, nil), device("e", inventory.OnHost, nil)},
			`level=INFO msg="device joined the resource" resource=rdma/a device="e (e)" place=host` + "\n" +
				`level=INFO msg="device left the resource" resource=rdma/a device="c (c)" was=gone`},
	} {
		log.Reset()
		m.report(e, step.devices)
		if have := strings.TrimSpace(log.String()); have != step.want {
			t.Errorf("%s\nwant\n%s", have, step.want)
		}
	}
	log.Reset()
	m.report(&entry{config: config.Resource{Name: "rdma/none", Mode: config.PerDevice}}, nil)
	if have := log.String(); !strings.HasPrefix(have, "level=WARN msg=\"the resource selects no device on this node;") || !strings.Contains(have, "devices=0") {
		t.Errorf("of none: %s", have)
	}
}

func TestTheEarlierOfTwoTimesIsTheOneThatIsOne(t *testing.T) {
	first, second := time.Unix(1, 0), time.Unix(2, 0)
	for _, tt := range []struct{ a, b, want time.Time }{
		{first, second, first}, {second, first, first}, {time.Time{}, second, second}, {first, time.Time{}, first}, {time.Time{}, time.Time{}, time.Time{}},
	} {
		if have := earlier(tt.a, tt.b); !have.Equal(tt.want) {
			t.Errorf("of %v and %v: %v", tt.a, tt.b, have)
		}
	}
}
