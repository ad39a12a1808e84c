package attachment_test

import (
	"fmt"
	"log/slog"
	"slices"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/test/fixtures/node"
)

// Another link may have the name, which is none of ifupdown's business then.
func TestIfupdownIsCalledForANICUnderItsOwnNameOnly(t *testing.T) {
	for taken, want := range map[bool][]string{false: {"ens12np0", "ens12np0"}, true: nil} {
		t.Run(fmt.Sprint("taken: ", taken), func(t *testing.T) {
			host := node.NewHost(t)
			r := record("c1")
			r.NIC.Netdev, r.Manager = netdev.IdentityOf(node.AddNIC(t, host, "net1")), netmanager.Ifupdown
			if taken {
				node.AddNIC(t, host, r.Host.Name)
			}
			j := open(t, t.TempDir(), "boot-1")
			must(t, j.Write(r))
			var called []string
			w := attachment.Returner{Journal: j, Host: host, Log: slog.New(slog.DiscardHandler), Appear: func(name string) error {
				called = append(called, name)
				return nil
			}}
			must(t, w.Return(t.Context(), r))
			must(t, w.Finish(t.Context(), r)) // as if the device plugin had returned it
			if !slices.Equal(called, want) {
				t.Errorf("called for %v, want %v", called, want)
			}
		})
	}
}
