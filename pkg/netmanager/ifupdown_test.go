package netmanager

import "testing"

func TestAFolderIsReadByTheNamesThatIfupdownTakes(t *testing.T) {
	const rail = "allow-hotplug ens11np0\niface ens11np0 inet manual\n"
	for file, want := range map[string]Manager{
		"rail": Ifupdown, "Rail-1_a": Ifupdown, "42": Ifupdown, "-_": Ifupdown,
		"rail.cfg": None, "rail~": None, ".rail": None, "#rail#": None, "rail 1": None, "rail/more": None,
	} {
		r := roots(t, map[string]string{
			"run/network/ifstate": "", "etc/network/interfaces": "source-directory interfaces.d\n", "etc/network/interfaces.d/" + file: rail,
		})
		if is := r.Of("ens11np0", 7); is != want {
			t.Errorf("%s: %q, want %q", file, is, want)
		}
	}
}

func TestAFileThatIsNamedMayBeHidden(t *testing.T) {
	for line, want := range map[string]Manager{"source .rails": Ifupdown, "source /etc/network/.rails": Ifupdown, "source .rail?": None, "source *": None} {
		r := roots(t, map[string]string{
			"run/network/ifstate": "", "etc/network/interfaces": line + "\n", "etc/network/.rails": "allow-hotplug ens11np0\niface ens11np0 inet manual\n",
		})
		if is := r.Of("ens11np0", 7); is != want {
			t.Errorf("%s: %q, want %q", line, is, want)
		}
	}
}
