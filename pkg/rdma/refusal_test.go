package rdma

import (
	"errors"
	"io/fs"
	"testing"

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
