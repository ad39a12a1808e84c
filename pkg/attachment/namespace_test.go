package attachment

import (
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

// Records of earlier versions have no cookie, and neither have those of old kernels.
func TestANamespaceIsTheRecordsByItsNumberAndItsCookieIfThatIsKnown(t *testing.T) {
	for _, tt := range []struct {
		recorded Namespace
		open     *netdev.Namespace
		want     bool
	}{
		{Namespace{ID: 1, Cookie: 7}, &netdev.Namespace{ID: 1, Cookie: 7}, true},
		{Namespace{ID: 1, Cookie: 7}, &netdev.Namespace{ID: 1, Cookie: 8}, false},
		{Namespace{ID: 1, Cookie: 7}, &netdev.Namespace{ID: 2, Cookie: 7}, false},
		{Namespace{ID: 1}, &netdev.Namespace{ID: 1, Cookie: 7}, true},
		{Namespace{ID: 1}, &netdev.Namespace{ID: 2, Cookie: 7}, false},
		{Namespace{ID: 1}, &netdev.Namespace{ID: 1}, true},
	} {
		if is := tt.recorded.is(tt.open); is != tt.want {
			t.Errorf("%+v, %d with cookie %d: %v", tt.recorded, tt.open.ID, tt.open.Cookie, is)
		}
	}
}
