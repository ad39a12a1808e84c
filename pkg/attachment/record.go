package attachment

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/netmanager"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A Step is how far an attachment has come. Whatever the step, Returner.Return
// looks where the NIC really is.
type Step string

const (
	// Prepared means that the record is written: the NIC is on the host or in
	// the pod. If it is elsewhere, somebody else moved it, unless the record has
	// the ifindex that it got in the pod (netdev.Identity.AwayIndex).
	Prepared Step = "prepared"
	// Attached means that the pod has the NIC.
	Attached Step = "attached"
	// Returned means that the NIC is back on the host, but its address is not yet free.
	Returned Step = "returned"
)

// formatVersion is that of the journal's files. A file of another version is
// foreign.
const formatVersion = 1

// A Record is one attachment: a NIC given, or being given, to a pod.
type Record struct {
	Version int `json:"version"`
	// BootID is the boot in which the NIC was moved. After a reboot all NICs
	// are on the host as the kernel and udev made them; a record from before
	// says nothing about them.
	BootID  string    `json:"bootID"`
	Created time.Time `json:"created"`
	Step    Step      `json:"step"`

	// ContainerID and IfName identify the attachment, as in the CNI
	// specification. IfName is the netdev's name in the pod.
	ContainerID string `json:"containerID"`
	IfName      string `json:"ifName"`
	// Call is the interface name of the CNI call that made the attachment, where
	// that is another one: a call may attach several NICs.
	Call string `json:"call,omitempty"`
	// Claim is the UID of the ResourceClaim that allots the NIC, if one does and
	// no network has taken it over.
	Claim string `json:"claim,omitempty"`
	// Network is the name of the network configuration.
	Network string    `json:"network"`
	Pod     Pod       `json:"pod,omitzero"`
	Netns   Namespace `json:"netns"`

	NIC NIC `json:"nic"`
	// Host is the netdev's state before the move, to be restored.
	Host netdev.State `json:"host"`
	// Manager is what configures the netdev whenever it appears on the host.
	Manager netmanager.Manager `json:"manager,omitempty"`
	// ManagerLacks are its settings that it should have and has not; nothing is
	// decided by them.
	ManagerLacks []string `json:"managerLacks,omitempty"`
	// Back is when the NIC came back to the host.
	Back time.Time `json:"back,omitzero"`

	// Addresses are those that the netdev got in the pod, for who wants to know.
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	// Rules are the routing rules that the attachment has in the pod.
	Rules []netdev.Rule `json:"rules,omitempty"`
	// Routes are the routes that its ADD made there. They go with the netdev;
	// CHECK looks for them.
	Routes []netdev.Route `json:"routes,omitempty"`
	// DeviceInfoFile is the file that tells Multus about the device, if any.
	DeviceInfoFile string `json:"deviceInfoFile,omitempty"`

	// Args and Config are CNI_ARGS and the network configuration of the ADD:
	// what it takes to free the address when nobody else remembers it.
	Args   string          `json:"args,omitempty"`
	Config json.RawMessage `json:"config,omitempty"`
}

// A Pod is what the runtime says of the pod. The name is for logs and messages;
// nothing is decided by it.
type Pod struct {
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name,omitempty"`
	UID       string `json:"uid,omitempty"`
}

func (p Pod) String() string {
	if p.Name == "" {
		return ""
	}
	return p.Namespace + "/" + p.Name
}

// A Namespace is where a pod lives.
type Namespace struct {
	Path string `json:"path"`
	// ID and Cookie are as in netdev.Namespace: a new pod's namespace may have
	// the path of an old one, and its inode number, too.
	ID     uint64 `json:"id"`
	Cookie uint64 `json:"cookie,omitempty"`
}

// is tells whether an open namespace is this one. A record of an earlier version,
// or of a kernel that gives none, has no cookie.
func (n Namespace) is(open *netdev.Namespace) bool {
	return open.ID == n.ID && (n.Cookie == 0 || open.Cookie == n.Cookie)
}

// A NIC is the pair that travels together.
type NIC struct {
	Netdev netdev.Identity `json:"netdev"`
	// Bus and Address are the PCI or auxiliary function, empty for a virtual
	// netdev.
	Bus     string `json:"bus,omitempty"`
	Address string `json:"address,omitempty"`
	// RDMA is the device as the host saw it before the move, nil if the NIC
	// has none or it stays behind. CharDevices are kept up to date.
	RDMA *rdma.Device `json:"rdma,omitempty"`
	// RDMAMoved says that the RDMA device goes with the netdev: exclusive mode.
	RDMAMoved bool `json:"rdmaMoved,omitempty"`
	// Soft is the netdev's software RDMA device that the attachment does
	// without.
	Soft *rdma.Device `json:"soft,omitempty"`
}

// ID is that of the record's attachment.
func (r *Record) ID() ID { return ID{r.ContainerID, r.IfName} }

// CallID is that of the CNI call that made the attachment, and by which a runtime
// knows it.
func (r *Record) CallID() ID { return ID{r.ContainerID, cmp.Or(r.Call, r.IfName)} }

// Holder says who holds the NIC, for a message.
func (r *Record) Holder() string {
	holder := fmt.Sprintf("container %s, interface %s", r.ContainerID, r.IfName)
	if pod := r.Pod.String(); pod != "" {
		return "pod " + pod + " (" + holder + ")"
	}
	return holder
}

// managerWait is how long a network manager has to configure a NIC that came
// back. NetworkManager takes some tenths of a second from the kernel's event
// on, ifupdown may take seconds, and on a busy host all take longer.
const managerWait = 20 * time.Second

// Due is when what is owed to a NIC can be settled: its manager has had its
// time. If the clock has been set back since, that is at once.
func (r *Record) Due() time.Time {
	if r.Manager == netmanager.None || time.Now().Before(r.Back) {
		return time.Time{}
	}
	return r.Back.Add(managerWait)
}

func (r *Record) validate() error {
	switch {
	case r.Version != formatVersion:
		return fmt.Errorf("format version %d, this program writes %d", r.Version, formatVersion)
	case r.ContainerID == "" || r.IfName == "":
		return errors.New("no container ID or interface name")
	case r.Host.Name == "" || r.NIC.Netdev.Index == 0:
		return errors.New("no NIC")
	}
	return nil
}
