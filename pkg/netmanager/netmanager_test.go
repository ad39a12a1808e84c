package netmanager

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestTheManagerIsWhoConfiguresTheLinkByItself(t *testing.T) {
	const (
		device              = "run/NetworkManager/devices/7"
		profile             = "[device]\nmanaged=true\nconnection-uuid=1111\nroute-metric-default-effective=100\n"
		made                = "run/NetworkManager/system-connections/rail1.nmconnection"
		ifstate, interfaces = "run/network/ifstate", "etc/network/interfaces"
		stanza              = "iface ens11np0 inet manual\n"
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
		"ifupdown, by udev":                     {map[string]string{ifstate: "lo=lo\n", interfaces: "auto lo\n  allow-hotplug ens12np0 ens11np0\n" + stanza}, Ifupdown},
		"both, as NetworkManager comes first":   {map[string]string{device: profile, ifstate: "", interfaces: "allow-hotplug ens11np0\n" + stanza}, NetworkManager},
		"ifupdown for another":                  {map[string]string{ifstate: "", interfaces: "allow-hotplug ens11np01\n#allow-hotplug ens11np0\n" + stanza}, None},
		"ifupdown at boot, which does it once":  {map[string]string{ifstate: "", interfaces: "auto ens11np0\n" + stanza}, None},
		"ifupdown's file and no ifupdown":       {map[string]string{interfaces: "allow-hotplug ens11np0\n" + stanza}, None},
		"networkd, which needs no waiting for":  {map[string]string{"run/systemd/netif/links/7": "ADMIN_STATE=configured\nNETWORK_FILE=/etc/systemd/network/x.network\n"}, None},
		"a file that is none of NetworkManager": {map[string]string{device: "\x00\xff"}, None},
	} {
		t.Run(name, func(t *testing.T) {
			if is := roots(t, c.files).Of("ens11np0", 7); is != c.want {
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

// What is wanted is what `ifup --allow=hotplug ens11np0` of ifupdown 0.8.41 does.
func TestALineOfAllowHotplugMeansWhatIfupdownTakesItFor(t *testing.T) {
	const stanza = "\niface ens11np0 inet manual\n"
	for lines, want := range map[string]Manager{
		"allow-hotplug /ens*" + stanza:                          Ifupdown,
		"allow-hotplug lo /ens1?np[!1]" + stanza:                Ifupdown,
		"allow-hotplug /enp*" + stanza:                          None,
		"allow-hotplug ens*" + stanza:                           None,     // a pattern has a slash
		"allow-hotplug /ens*/2" + stanza:                        Ifupdown, // perhaps
		"allow-hotplug /ens*=rail" + stanza:                     Ifupdown, // the name behind "=" is not asked for
		"allow-hotplug /ens*=rail\niface rail inet manual":      None,
		"allow-hotplug ens11np0=rail" + stanza:                  Ifupdown,
		"allow-hotplug mac/02:*" + stanza:                       Ifupdown,
		"allow-hotplug MAC/04:*" + stanza:                       None,
		"allow-hotplug operstate/up" + stanza:                   Ifupdown,
		"allow-hotplug speed/*" + stanza:                        None,
		"auto /ens*=rail" + stanza:                              None,
		"allow-hotplug ens11np0":                                None, // "unknown interface"
		"allow-hotplug ens11np0\niface ens* inet manual":        None,
		"allow-hotplug ens11np0\niface /ens* inet manual":       None,
		"allow-hotplug ens11np0\nmapping ens*\n script x":       Ifupdown,
		"iface ens11np0 inet manual\n mtu 9000\n allow-hotplug": Ifupdown,
		"allow-hotplug":                                         None,
		"iface":                                                 None,
		"allow-hotplug \\\n  ens11np0" + stanza:                 Ifupdown,
		"allow-hotplug \\\n#rail ens11np0" + stanza:             Ifupdown, // no line begins there
		"# allow-hotplug \\\nallow-hotplug ens12np0" + stanza:   None,
		"  # a rail \\\nallow-hotplug ens11np0" + stanza:        Ifupdown, // no comment goes on
		"source interfaces":                                     None,     // itself
		"source /etc/network/interfaces.d/*":                    Ifupdown,
		"source interfaces.d/*.cfg":                             None,
		"source none interfaces.d/ra?ls":                        Ifupdown,
		"source empty interfaces.d/rails":                       Ifupdown,
		"source-directory interfaces.d":                         Ifupdown,
		"source-directory /etc/network/more":                    None, // not of such a name
		"source /etc/network/more/*.cfg":                        Ifupdown,
		"source more/*":                                         Ifupdown,
		"source hidden/*":                                       None,
		"source nested":                                         Ifupdown,
		"":                                                      None, // interfaces.d is not read by itself
	} {
		t.Run(lines, func(t *testing.T) {
			rails := "allow-hotplug ens11np0" + stanza
			r := roots(t, map[string]string{
				"run/network/ifstate": "", "etc/network/interfaces": lines,
				"etc/network/interfaces.d/rails": rails, "etc/network/more/rails.cfg": rails, "etc/network/hidden/.rails": rails,
				"etc/network/empty":              "",
				"etc/network/nested":             "source-directory interfaces.d\nsource nested interfaces\n",
				"sys/class/net/ens11np0/address": "02:00:00:00:00:01\n", "sys/class/net/ens11np0/operstate": "up\n",
			})
			if is := r.Of("ens11np0", 7); is != want {
				t.Errorf("%q, want %q", is, want)
			}
		})
	}
}

func TestWhatNetworkManagerIsNotToldIsSaid(t *testing.T) {
	const (
		device, numbered = "run/NetworkManager/devices/7", "[device]\nroute-metric-default-effective=101\n"
		lib, run, etc    = "lib/NetworkManager/conf.d/", "run/NetworkManager/conf.d/", "etc/NetworkManager/conf.d/"
		none             = "[main]\nno-auto-default=*\n"
		auto, metric     = "no-auto-default=*", "ipv4.route-metric and ipv6.route-metric"
	)
	for name, c := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing of it":                    {map[string]string{device: numbered}, []string{auto, metric}},
		"all of it":                        {map[string]string{device: "[device]\nmanaged=true\n", etc + "rails.conf": none}, nil},
		"the metric only":                  {map[string]string{device: "[device]\nmanaged=true\n"}, []string{auto}},
		"by the distribution":              {map[string]string{lib + "00-server.conf": none}, nil},
		"by the main file":                 {map[string]string{"etc/NetworkManager/NetworkManager.conf": none}, nil},
		"a later one in the main file":     {map[string]string{run + "z.conf": none, "etc/NetworkManager/NetworkManager.conf": "[main]\nno-auto-default=eth0\n"}, []string{auto}},
		"in a further file, over the main": {map[string]string{"etc/NetworkManager/NetworkManager.conf": "[main]\nno-auto-default=eth0\n", etc + "rails.conf": none}, nil},
		"less in a further file":           {map[string]string{"etc/NetworkManager/NetworkManager.conf": none, etc + "rails.conf": "[main]\nno-auto-default=eth0\n"}, []string{auto}},
		"one of the same name in /etc":     {map[string]string{lib + "a.conf": none, run + "a.conf": none, etc + "a.conf": ""}, []string{auto}},
		"no file of that folder":           {map[string]string{etc + "rails.conf.bak": none}, []string{auto}},
		"in another group":                 {map[string]string{etc + "rails.conf": "[device]\nno-auto-default=*\n"}, []string{auto}},
		"among others, with blanks":        {map[string]string{etc + "rails.conf": "[main]\nno-auto-default=eth0 eth1\t*\n"}, nil},
		"a comment":                        {map[string]string{etc + "rails.conf": "[main]\n#no-auto-default=*\n"}, []string{auto}},
		"added to others":                  {map[string]string{etc + "a.conf": "[main]\nno-auto-default = eth0,eth1\n", etc + "b.conf": "[main]\nno-auto-default+=*\n"}, nil},
		"and taken away by a further file": {map[string]string{etc + "a.conf": none, etc + "b.conf": "[main]\nno-auto-default-=*;eth0\n"}, []string{auto}},
	} {
		t.Run(name, func(t *testing.T) {
			r := roots(t, c.files)
			if lacks := r.Lacks(NetworkManager, 7); !slices.Equal(lacks, c.want) {
				t.Errorf("lacks %q, want %q", lacks, c.want)
			}
			if lacks := r.Lacks(Ifupdown, 7); lacks != nil {
				t.Errorf("ifupdown lacks %q", lacks)
			}
		})
	}
}

// roots are those of a host that has the files.
func roots(t *testing.T, files map[string]string) Roots {
	t.Helper()
	root := t.TempDir()
	if err := os.Mkdir(filepath.Join(root, "run"), 0o755); err != nil {
		t.Fatal(err)
	}
	for path, content := range files {
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Roots{filepath.Join(root, "run"), filepath.Join(root, "etc"), filepath.Join(root, "lib"), filepath.Join(root, "sys")}
}

func TestTheHostsFoldersAreWhereEveryHostHasThem(t *testing.T) {
	if want := (Roots{Run: "/run", Etc: "/etc", Lib: "/usr/lib", Sys: "/sys"}); Host() != want {
		t.Errorf("%+v, want %+v", Host(), want)
	}
}
