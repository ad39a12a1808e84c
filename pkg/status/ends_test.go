package status

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestWhatIsOwedSaysWhoseTurnItIs(t *testing.T) {
	n := node.New(t, node.Eight()...)
	n.Attach(rdma.Shared, sysfs.MLX5(0), sysfs.MLX5(1))
	var want []string
	for _, name := range []string{"net1", "net2"} {
		r, _, err := n.Journal.Read(attachment.ID{ContainerID: "pod1", IfName: name})
		n.Must(err)
		r.Back, r.Created = time.Now().UTC().Truncate(time.Second), time.Now().UTC().Add(-time.Hour)
		why := "another link has its name, or what it had cannot be set yet"
		if name == "net2" {
			r.Manager = netmanager.Ifupdown
			why = "ifupdown has until " + r.Back.Add(20*time.Second).Format(time.TimeOnly) + " to configure it; the rest is set then"
		}
		want = append(want, why)
		n.Must(n.Journal.Owe(r))
	}
	var got []string
	for _, o := range look(n, optionsOf(n)).Owed {
		got = append(got, o.Why)
		if since := time.Since(o.Was.Since); since < time.Hour || since > time.Hour+time.Minute || o.Was.Interface == "" || o.Was.Container != "pod1" || o.Was.Step != attachment.Attached {
			t.Errorf("%+v", o)
		}
	}
	slices.Sort(got)
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

// Who runs pods without a kubelet says nothing of their names.
func TestAnAttachmentOfNoPodIsNotMissedByTheKubelet(t *testing.T) {
	s := &Status{NICs: []NIC{{Netdev: "eth0"}, {Netdev: "eth1", Holder: &Holder{}}, {Netdev: "eth2", Holder: &Holder{Pod: "a/gone"}}, {Netdev: "eth3", Holder: &Holder{Pod: "a/here"}}}}
	if s.compare([]pod{{name: "a/here"}}); len(s.Remarks) != 1 || !strings.Contains(s.Remarks[0], "a/gone, which has eth2") {
		t.Errorf("%q", s.Remarks)
	}
}
