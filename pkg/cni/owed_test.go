package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/attachment"
	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/test/fixtures/sysfs"
)

func TestANameThatIsOwedMeansNoOtherLink(t *testing.T) {
	h, another := sysfs.MLX5(0), sysfs.MLX5(1)
	s := newScene(t, h, another)
	p, next := s.pod("c1"), s.pod("c2")
	s.sh("ip link property add dev " + h.Netdev + " altname rail0")
	p.add("net1", network(h.Netdev, ""))
	s.sh("ip link add " + h.Netdev + " type veth peer name otherw") // it has the name meanwhile
	s.Must(p.del("net1", network(h.Netdev, "")))
	owed, err := s.Journal.Owed()
	if len(owed) != 1 || owed[0].Host.Name != h.Netdev || err != nil {
		t.Fatalf("%v, %v", owed, err)
	}
	_, err = next.tryAdd("net1", network(h.Netdev, ""))
	if want := "because another link has its name; rename or remove that link, which `ip link show " + h.Netdev + "` shows; nothing was changed"; !strings.Contains(told(err), want) {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	next.add("net9", network(another.Netdev, "")) // to which nothing is owed
	if r := s.record("c2", "net9"); r.Host.Name != another.Netdev {
		t.Errorf("the journal has the name %s of %s", r.Host.Name, another.Netdev)
	}
	// By a name that it has it can go; the record has its own name for the way back.
	next.add("net1", network("rail0", ""))
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c2", IfName: "net1"})
	s.Must(err)
	if r.Host.Name != h.Netdev || len(r.Host.AltNames) != 1 {
		t.Errorf("the journal has the names %s, %v", r.Host.Name, r.Host.AltNames)
	}
	if owed, err := s.Journal.Owed(); len(owed) > 0 || err != nil {
		t.Errorf("owed still: %v, %v", owed, err)
	}
	s.sh("ip link del " + h.Netdev)
	s.Must(next.del("net1", network("rail0", "")))
	if s.onHost() != h.Netdev {
		t.Errorf("on the host: %s", s.onHost())
	}
}

func TestAnAlternativeNameThatIsOwedMeansNoOtherLink(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	s.sh("ip link property add dev " + h.Netdev + " altname rail0")
	p.add("net1", network(h.Netdev, ""))
	s.sh("ip link add other type veth peer name otherw; ip link property add dev other altname rail0")
	s.Must(p.del("net1", network(h.Netdev, "")))
	_, err := p.tryAdd("net1", network("rail0", ""))
	if want := "100 rail0: the NIC is on the host as " + h.Netdev + ", because another link has its name; "; !strings.HasPrefix(told(err), want) {
		t.Errorf("%s\nwant %s", told(err), want)
	}
	p.add("net1", network(h.Netdev, "")) // by its own name it can go; the other stays owed
	if names := s.record("c1", "net1").Host.AltNames; !slices.Equal(names, []string{"rail0"}) {
		t.Errorf("the journal has the names %q", names)
	}
}

func TestWhatTheHostHasNotTakenBackIsOwedByTheNextAttachmentToo(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p := s.pod("c1")
	lost := netdev.Route{Dst: netip.MustParsePrefix("203.0.113.0/24"), Gateway: netip.MustParseAddr("10.1.1.1")} // nobody knows the way there
	p.add("net1", network(h.Netdev, ""))
	s.change("c1", "net1", func(r *attachment.Record) { r.Host.Routes = append(r.Host.Routes, lost) })
	s.Must(p.del("net1", network(h.Netdev, "")))
	p.add("net2", network(h.Netdev, ""))
	if routes := s.record("c1", "net2").Host.Routes; !slices.ContainsFunc(routes, func(r netdev.Route) bool { return r.Dst == lost.Dst }) {
		t.Errorf("the journal has %v", routes)
	}
}

func TestANameThatIsFreeIsGivenBackByTheNextCommand(t *testing.T) {
	h := sysfs.MLX5(0)
	for name, command := range map[string]func(*scene, *scenePod) error{
		"an ADD": func(_ *scene, p *scenePod) error {
			if _, err := p.tryAdd("net1", network("ens99np0", "")); err == nil {
				return errors.New("there is such a NIC")
			}
			return nil
		},
		"a DEL": func(_ *scene, p *scenePod) error { return p.del("net1", network(h.Netdev, "")) },
		"a GC": func(s *scene, p *scenePod) error {
			return s.gc(p.args("", network("", `, "cni.dev/valid-attachments": []`)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, h)
			p, next := s.pod("c1"), s.pod("c2")
			p.add("net1", network(h.Netdev, ""))
			s.sh("ip link add " + h.Netdev + " type veth peer name otherw")
			s.Must(p.del("net1", network(h.Netdev, "")))
			s.sh("ip link del " + h.Netdev)
			s.Must(command(s, next))
			if owed, err := s.Journal.Owed(); s.onHost() != h.Netdev || len(owed) > 0 || err != nil {
				t.Errorf("on the host: %s; owed %v, %v", s.onHost(), owed, err)
			}
		})
	}
}

// NetworkManager has configured only a part of it, or nothing yet.
func TestANICThatItsManagerHasYetToConfigureKeepsWhatItHad(t *testing.T) {
	h := sysfs.MLX5(0)
	s := newScene(t, h)
	p, next := s.pod("c1"), s.pod("c2")
	s.sh("ip addr add 192.0.2.1/24 dev " + h.Netdev)
	link, err := s.host.LinkNamed(h.Netdev)
	s.Must(err)
	s.Write(fmt.Sprintf("run/NetworkManager/devices/%d", link.Attrs().Index), "[device]\nconnection-uuid=1\n")
	p.add("net1", network(h.Netdev, ""))
	r, _, err := s.Journal.Read(attachment.ID{ContainerID: "c1", IfName: "net1"})
	s.Must(err)
	if strings.Join(r.ManagerLacks, ", ") != "no-auto-default=*" || !strings.Contains(s.Logs.String(), "network manager lacks settings") {
		t.Errorf("it lacks %v; logged\n%s", r.ManagerLacks, s.Logs)
	}
	s.Must(p.del("net1", network(h.Netdev, "")))
	if got := s.sh("ip -o -4 addr show dev " + h.Netdev); got != "" {
		t.Errorf("it came back with %s", got)
	}
	next.add("net1", network(h.Netdev, ""))
	r, _, err = s.Journal.Read(attachment.ID{ContainerID: "c2", IfName: "net1"})
	s.Must(err)
	if len(r.Host.Addresses) != 1 || r.Manager != "NetworkManager" {
		t.Errorf("the journal has %v of %q", r.Host.Addresses, r.Manager)
	}
}
