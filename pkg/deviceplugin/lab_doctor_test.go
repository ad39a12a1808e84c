package deviceplugin

import (
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/doctor"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
)

func TestInTheLabTheDoctorFindsAPulledCableAndASmallMTU(t *testing.T) {
	n := newLabNode(t)
	monitor := n.machineMonitor()
	host, err := netdev.CurrentNamespace()
	n.Must(err)
	defer host.Close()
	choice, err := ReadChoice(n.Dir + "/config.json")
	n.Must(err)
	found := func() (all []string) {
		n.Helper()
		r, err := doctor.Examine(n.Ctx, doctor.Options{
			Roots:    doctor.Roots{Sys: "/sys", Dev: "/dev", Proc: "/proc", Etc: "/etc", Run: "/run", Lib: "/usr/lib"},
			StateDir: n.State(), PluginDir: "/host/bin", Choose: choice.Of, Links: host.Links, Elsewhere: host.LinksElsewhere, DCB: host.DCB,
		})
		n.Must(err)
		if len(r.Rails) != labNICs || r.Mode == "" {
			n.Errorf("%+v", r)
		}
		for _, f := range r.Findings {
			all = append(all, f.Check+" "+f.Where+" "+f.What)
		}
		return all
	}
	silent := func() bool { return len(found()) == 0 }
	if !silent() {
		n.Fatalf("of a healthy node: %q", found())
	}

	cable := func(up bool) { monitor.execute("set_link", map[string]any{"name": "nic15", "up": up}) }
	cable(false)
	n.Until("the cable is missed", func() bool {
		all := found()
		return len(all) == 1 && strings.HasPrefix(all[0], "port "+lastNIC+" port 1 of "+lastRDMA+" is DOWN")
	})
	cable(true)
	n.Until("the cable is back", silent)

	n.command("ip link set " + lastNIC + " mtu 1500")
	if all := found(); len(all) != 1 || !strings.HasPrefix(all[0], "mtu "+lastNIC+" MTU 1500: RoCE packets of 1024 bytes") {
		n.Errorf("%q", all)
	}
	n.command("ip link set " + lastNIC + " mtu 9000")
	if !silent() {
		n.Errorf("of a mended node: %q", found())
	}
}
