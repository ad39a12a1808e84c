package netmanager

import (
	"os"
	"path/filepath"
	"testing"
)

func TestTheManagerIsWhoConfiguresTheLinkByItself(t *testing.T) {
	const (
		device              = "run/NetworkManager/devices/7"
		profile             = "[device]\nmanaged=true\nconnection-uuid=1111\nroute-metric-default-effective=100\n"
		made                = "run/NetworkManager/system-connections/rail1.nmconnection"
		ifstate, interfaces = "run/network/ifstate", "etc/network/interfaces"
	)
	for name, c := range map[string]struct {
		files map[string]string
		want  Manager
	}{
		"nobody":                                {want: None},
		"a profile of its files":                {map[string]string{device: profile}, NetworkManager},
		"a profile that it keeps in /run":       {map[string]string{device: profile, made: "[connection]\nuuid=1111\n[.nmmeta]\nnm-generated=true\n"}, NetworkManager},
		"a profile that it made up":             {map[string]string{device: profile, made: "[connection]\nuuid=1111\n[.nmmeta]\nnm-generated=true\nvolatile=true\nexternal=true\n"}, None},
		"one that it made up for another":       {map[string]string{device: profile, made: "[connection]\nuuid=2222\n[.nmmeta]\nexternal=true\n"}, NetworkManager},
		"it knows the device and has none":      {map[string]string{device: "[device]\nmanaged=true\n"}, None},
		"it leaves the device alone":            {map[string]string{device: "[device]\nmanaged=false\n"}, None},
		"another device's":                      {map[string]string{"run/NetworkManager/devices/71": profile}, None},
		"ifupdown, by udev":                     {map[string]string{ifstate: "lo=lo\n", interfaces: "auto lo\n  allow-hotplug ens12np0 ens11np0\n"}, Ifupdown},
		"ifupdown, in a file of its own":        {map[string]string{ifstate: "", interfaces + ".d/rails": "allow-hotplug ens11np0"}, Ifupdown},
		"ifupdown for another":                  {map[string]string{ifstate: "", interfaces: "allow-hotplug ens11np01\n#allow-hotplug ens11np0\n"}, None},
		"ifupdown at boot, which does it once":  {map[string]string{ifstate: "", interfaces: "auto ens11np0\n"}, None},
		"ifupdown's file and no ifupdown":       {map[string]string{interfaces: "allow-hotplug ens11np0\n"}, None},
		"networkd, which needs no waiting for":  {map[string]string{"run/systemd/netif/links/7": "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/x.network\n"}, None},
		"a file that is none of NetworkManager": {map[string]string{device: "\x00\xff"}, None},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir() // stands for the host's
			if err := os.Mkdir(filepath.Join(root, "run"), 0o755); err != nil {
				t.Fatal(err)
			}
			for path, content := range c.files {
				path = filepath.Join(root, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if is := (Roots{filepath.Join(root, "run"), filepath.Join(root, "etc")}).Of("ens11np0", 7); is != c.want {
				t.Errorf("%q, want %q", is, c.want)
			}
		})
	}
}

func TestWhatIfupdownHasConfiguredIsUp(t *testing.T) {
	run := t.TempDir()
	if err := os.Mkdir(filepath.Join(run, "network"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(run, "network/ifstate"), []byte("lo=lo\nxens11np0=x\nens12np0=rail1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"lo": true, "ens12np0": true, "ens11np0": false, "ens1": false, "rail1": false} {
		if is := (Roots{Run: run}).HasUp(name); is != want {
			t.Errorf("%s: %v", name, is)
		}
	}
	if (Roots{Run: t.TempDir()}).HasUp("lo") {
		t.Error("without ifupdown something is up")
	}
}
