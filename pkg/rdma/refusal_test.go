package rdma

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestOnlyADriverThatIsThereRefusesACounter(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{&fs.PathError{Op: "read", Err: unix.EOPNOTSUPP}, true},
		{&fs.PathError{Op: "read", Err: unix.EINVAL}, true},
		{&fs.PathError{Op: "read", Err: unix.ENODEV}, false}, // of a device that has just left (kernfs_seq_start, fs/kernfs/file.c)
		{&fs.PathError{Op: "open", Err: unix.ENODEV}, false},
		{&fs.PathError{Op: "open", Err: unix.ENOENT}, false},
		{errors.New("too long"), false},
		{nil, false},
	} {
		if got := refuses(tt.err); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

// A driver writes each refusal to the kernel's log.
func TestACounterThatWasRefusedRestsForAWhileOfItsPortAlone(t *testing.T) {
	r := NewCounterReader()
	rests := func(subject, folder, file string) bool {
		name, rests := r.look(subject, folder, []byte(file))
		if name != file {
			t.Errorf("%s is called %s", file, name)
		}
		return rests
	}
	if rests("mlx5_0/1", "counters", "link_downed") {
		t.Error("rests though nobody has refused it")
	}
	r.leave("mlx5_0/1", "counters", "link_downed")
	if !rests("mlx5_0/1", "counters", "link_downed") {
		t.Error("is read again at once")
	}
	for _, other := range [][3]string{{"mlx5_0/2", "counters", "link_downed"}, {"mlx5_0", "counters", "link_downed"}, {"mlx5_0/1", "hw_counters", "link_downed"}, {"mlx5_0/1", "counters", "symbol_error"}} {
		if rests(other[0], other[1], other[2]) {
			t.Errorf("%q rests as well", other)
		}
	}
	r.leave("mlx5_0/1", "counters", "symbol_error")
	for key := range r.refused {
		if key == "mlx5_0/1/counters/link_downed" {
			r.refused[key] = time.Now().Add(-notAgain)
		} else {
			r.refused[key] = time.Now().Add(-notAgain / 2)
		}
	}
	if rests("mlx5_0/1", "counters", "link_downed") || len(r.refused) != 1 {
		t.Errorf("rests longer than it should, or is still known: %v", r.refused)
	}
	if !rests("mlx5_0/1", "counters", "symbol_error") {
		t.Error("rests for less than it should")
	}
}

// What the kernel does not read is a folder here.
func TestACounterThatTheDriverDoesNotReadIsLeftAlone(t *testing.T) {
	const port = "class/infiniband/mlx5_0/ports/1/"
	files := map[string]string{port + "link_layer": "Ethernet", port + "counters/excessive_buffer_overrun_errors": "N/A (no PMA)"}
	for _, name := range []string{"link_downed", "link_error_recovery", "port_rcv_errors", "port_rcv_packets", "port_xmit_packets", "port_xmit_wait"} {
		files[port+"counters/"+name] = "7"
	}
	sys := tree(t, files)
	refused := filepath.Join(sys, port, "counters/symbol_error")
	if err := os.Mkdir(refused, 0o755); err != nil {
		t.Fatal(err)
	}
	r := NewCounterReader()
	for _, step := range []struct {
		change func() error
		want   int // counters
	}{
		{func() error { return nil }, 6},
		{func() error { return errors.Join(os.Remove(refused), os.WriteFile(refused, []byte("1\n"), 0o600)) }, 6},
		{func() error { clear(r.refused); return nil }, 7},
	} {
		if err := step.change(); err != nil {
			t.Fatal(err)
		}
		if c, err := r.Read(Node{Sys: sys}, "mlx5_0"); err != nil || len(c.Ports) != 1 || len(c.Ports[0].Counters) != step.want || c.Ports[0].Rate != 0 {
			t.Errorf("%+v, %v, want %d counters", c, err, step.want)
		}
	}
}
