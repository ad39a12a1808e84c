package counters

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/roce-k8s/roce-k8s/pkg/netdev"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

// A sample is one value of one series. The labels are shared by all series of a
// port: a node has thousands.
type sample struct {
	description *prometheus.Desc
	labels      []*dto.LabelPair
	value       float64
	gauge       bool
	counter     dto.Counter
}

// Desc implements prometheus.Metric.
func (s *sample) Desc() *prometheus.Desc { return s.description }

// Write implements prometheus.Metric.
func (s *sample) Write(m *dto.Metric) error {
	m.Label = s.labels
	if s.gauge {
		m.Gauge = &dto.Gauge{Value: &s.value}
	} else {
		s.counter.Value = &s.value
		m.Counter = &s.counter
	}
	return nil
}

// metrics are the names and descriptions that scrapes have in common. There are
// as many as the drivers have counters.
type metrics struct {
	descriptions map[string]*prometheus.Desc // by name
	kernels      map[kernelName]*prometheus.Desc
	told         map[identity]bool // of one scrape: Prometheus takes no series twice
	foreign      *regexp.Regexp    // to Prometheus's names
	priority     *regexp.Regexp
}

// A kernelName is a counter's in the kernel or its driver, and the prefix that it
// gets here.
type kernelName struct{ prefix, name string }

func newMetrics() *metrics {
	return &metrics{
		descriptions: map[string]*prometheus.Desc{},
		kernels:      map[kernelName]*prometheus.Desc{},
		told:         map[identity]bool{},
		foreign:      regexp.MustCompile(`[^a-zA-Z0-9_]`),
		// mlx5: rx_prio3_pause; bnxt_en: rx_pfc_ena_frames_pri3; ice:
		// tx_priority_3_xoff.nic.
		priority: regexp.MustCompile(`(prio?|priority_)([0-7])(_|$)`),
	}
}

func (m *metrics) description(name, help string) *prometheus.Desc {
	d := m.descriptions[name]
	if d == nil {
		d = prometheus.NewDesc(name, help, nil, nil)
		m.descriptions[name] = d
	}
	return d
}

// A teller tells of one scrape.
type teller struct {
	*metrics
	ch chan<- prometheus.Metric
}

// An identity is what tells a series from all others.
type identity struct {
	metric *prometheus.Desc
	labels string
}

func (t *teller) tell(metric *prometheus.Desc, gauge bool, l labels, value float64) {
	if id := (identity{metric, l.key}); !t.told[id] {
		t.told[id] = true
		t.ch <- &sample{description: metric, labels: l.pairs, value: value, gauge: gauge}
	}
}

func (t *teller) gauge(name, help string, l labels, value float64) {
	t.tell(t.description(name, help), true, l, value)
}

// counter tells of a counter by the kernel's name of it.
func (t *teller) counter(kernel kernelName, help string, l labels, value uint64) {
	metric := t.kernels[kernel]
	if metric == nil {
		metric = t.description(kernel.prefix+t.foreign.ReplaceAllString(kernel.name, "_")+"_total", help)
		t.kernels[kernel] = metric
	}
	t.tell(metric, false, l, float64(value))
}

// labels are those of series, and their key what tells them from those of other
// NICs.
type labels struct {
	key   string
	pairs []*dto.LabelPair
}

// label makes the labels of a NIC's series. Those that do not apply are there
// and empty: Prometheus would otherwise fill in what it knows of this program's
// own pod, where it lets our labels be (honor_labels).
func (nic NIC) label(port int, netdev string) labels {
	number := ""
	if port > 0 {
		number = strconv.Itoa(port)
	}
	h := nic.Pod
	return labels{}.with("device", nic.Name).with("netdev", netdev).with("port", number).keyed().
		with("container", h.Container).with("namespace", h.Namespace).with("pod", h.Pod).
		with("rail", nic.Rail).with("resource", h.Resource)
}

func (l labels) with(name, value string) labels {
	// A pod may have chosen the name, so it may be any bytes.
	value = strings.ToValidUTF8(value, "\uFFFD")
	return labels{l.key, append(l.pairs[:len(l.pairs):len(l.pairs)], &dto.LabelPair{Name: &name, Value: &value})}
}

func (l labels) keyed() labels {
	for _, pair := range l.pairs {
		l.key += pair.GetValue() + "\x00"
	}
	return l
}

// netdevOf is the netdev of a device's ports, "" if it cannot be told: a device of
// several ports may have one for each.
func (nic NIC) netdevOf(ports int) string {
	if len(nic.Netdevs) == 0 || ports > 1 {
		return ""
	}
	return nic.Netdevs[0]
}

// counts tells of what the RDMA device counts.
func (t *teller) counts(nic NIC, c rdma.Counts) {
	t.kernelCounters(nic.label(0, nic.netdevOf(len(c.Ports))), c.Counters)
	for _, p := range c.Ports {
		l := nic.label(p.Number, nic.netdevOf(len(c.Ports)))
		t.kernelCounters(l, p.Counters)
		t.gauge("rdma_port_info", "1, with what else is known of a port.", l.with("link_layer", p.LinkLayer).
			with("state", p.State).with("phys_state", p.PhysState).with("fw_ver", c.Firmware).
			with("hca_type", c.HCAType).with("board_id", c.Board), 1)
		if p.StateNumber > 0 {
			t.gauge("rdma_port_state", "State of a port: 1 down, 2 init, 3 armed, 4 active, 5 active and deferred.", l, float64(p.StateNumber))
		}
		if p.Rate > 0 {
			t.gauge("rdma_port_speed_bits_per_second", "Rate of a port, as the kernel has it.", l, p.Rate)
		}
	}
}

func (t *teller) kernelCounters(l labels, counters []netdev.Counter) {
	for _, c := range counters {
		if c.Name == "lifespan" {
			t.gauge("rdma_lifespan", "For how many milliseconds the kernel keeps what it has read of hw_counters.", l, float64(c.Value))
			continue
		}
		t.counter(kernelName{"rdma_", c.Name}, "Counter of an RDMA device, as the kernel has it.", l, c.Value)
	}
}

// pcie tells of the link to the machine.
func (t *teller) pcie(nic NIC, ports int, link rdma.PCIeLink) {
	l := nic.label(0, nic.netdevOf(ports))
	for _, g := range []struct {
		name, help string
		value      float64
	}{
		{"rdma_pcie_speed_transfers_per_second", "Speed of each lane of a device's PCIe link.", link.Speed},
		{"rdma_pcie_max_speed_transfers_per_second", "Highest speed of the PCIe link that the device can.", link.MaxSpeed},
		{"rdma_pcie_width_lanes", "Lanes of a device's PCIe link.", float64(link.Width)},
		{"rdma_pcie_max_width_lanes", "Most lanes that the device can.", float64(link.MaxWidth)},
	} {
		if g.value > 0 {
			t.gauge(g.name, g.help, l, g.value)
		}
	}
}

// netdev tells of what a netdev of the NIC counts, and its driver.
func (t *teller) netdev(nic NIC, name string, statistics, hardware []netdev.Counter) {
	port := 0
	if len(nic.Ports) == 1 {
		port = nic.Ports[0].Number
	}
	l := nic.label(port, name)
	for _, c := range statistics {
		t.counter(kernelName{"rdma_netdev_", c.Name}, "Statistic of the netdev of an RDMA device, as the kernel has it.", l, c.Value)
	}
	const help = "Statistic of the driver of an RDMA device's netdev, as ethtool has it."
	for _, c := range hardware {
		at := t.priority.FindStringSubmatchIndex(c.Name)
		if at == nil {
			t.counter(kernelName{"rdma_ethtool_", c.Name}, help, l, c.Value)
			continue
		}
		priority := c.Name[at[4]:at[5]]
		kernel := strings.TrimSuffix(c.Name[:at[4]], "_") + c.Name[at[5]:]
		p := l.with("priority", priority)
		p.key += priority + "\x00"
		t.counter(kernelName{"rdma_ethtool_", kernel}, help, p, c.Value)
	}
}
