package doctor

import "testing"

func TestAFileOfTheAdministratorHidesTheVendorsOfItsName(t *testing.T) {
	n := newFakeNode(t)
	n.Write("usr/lib/modprobe.d/fake.conf", "options ib_core netns_mode=1\n") // /etc has one
	if r := n.examine(); len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
}
