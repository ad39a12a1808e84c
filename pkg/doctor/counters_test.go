package doctor

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/roce-k8s/roce-k8s/pkg/inventory"
	"github.com/roce-k8s/roce-k8s/pkg/rdma"
)

func TestEveryCounterOfALossIsReadOfAllPortsAndOfTheDevice(t *testing.T) {
	losses := strings.Fields("symbol_error link_error_recovery link_downed port_rcv_errors port_xmit_discards local_link_integrity_errors " +
		"excessive_buffer_overrun_errors rx_icrc_encapsulated out_of_buffer out_of_sequence packet_seq_err local_ack_timeout_err rnr_nak_retry_err roce_adp_retrans_to")
	dir := t.TempDir()
	write := func(file, content string) {
		t.Helper()
		file = filepath.Join(dir, file)
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(content+"\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	const device = "sys/class/infiniband/mlx5_0/"
	want := map[string]uint64{}
	for _, name := range losses {
		write(device+"ports/1/counters/"+name, "1")
		write(device+"ports/2/hw_counters/"+name, "2")
		want[name] = 3
	}
	write(device+"ports/1/counters/port_xmit_packets", "9") // no loss
	write(device+"hw_counters/packet_seq_err", "4")
	want["packet_seq_err"] += 4
	d := inventory.Device{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:08:00.0"}, Visible: true}
	// The host may have another of its name.
	away := inventory.Device{Device: rdma.Device{Name: "mlx5_0", Bus: rdma.BusPCI, Address: "0000:0b:00.0"}}
	left := inventory.Device{Device: rdma.Device{Name: "mlx5_2", Bus: rdma.BusPCI, Address: "0000:0e:00.0"}, Visible: true} // since it was seen
	p := &patient{node: rdma.Node{Sys: filepath.Join(dir, "sys")}, rails: []inventory.Device{away, left, d}}
	p.reading = p.read()
	if !reflect.DeepEqual(p.reading.Counts, map[string]map[string]uint64{d.Key(): want}) {
		t.Errorf("%v\nwant %v", p.reading.Counts, want)
	}

	p.Counters = filepath.Join(dir, "counters.json")
	if found, err := counters(p); len(found) > 0 || err == nil || err.Error() != "there is no earlier reading; the next run has one" {
		t.Errorf("%+v, %v", found, err)
	}
	// The kernel before had fewer counters, and one of them was less.
	b, err := json.Marshal(reading{Counts: map[string]map[string]uint64{d.Key(): {"link_downed": 1, "symbol_error": 3, "out_of_buffer": 4}}})
	if err != nil {
		t.Fatal(err)
	}
	write("counters.json", string(b))
	found, err := counters(p)
	if err != nil || len(found) != 1 || found[0].where != "mlx5_0" || !strings.HasPrefix(found[0].what, "link_downed grew by 2 since ") {
		t.Errorf("%+v, %v", found, err)
	}
}
