package main

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// denyRDMANetlink makes socket(AF_NETLINK, ..., NETLINK_RDMA) fail with EINVAL
// in all threads of this process and in all that it starts. The other plugin
// ends when it cannot ask for the mode of the RDMA subsystem, unless this is
// the error.
func denyRDMANetlink() error {
	const (
		numberAt = 0  // offsets in struct seccomp_data
		domainAt = 16 // the low halves of the arguments, on little-endian machines
		protoAt  = 32
	)
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	allowUnless := func(value uint32, instructionsToAllow uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: value, Jf: instructionsToAllow}
	}
	program := []unix.SockFilter{
		load(numberAt), allowUnless(unix.SYS_SOCKET, 5),
		load(domainAt), allowUnless(unix.AF_NETLINK, 3),
		load(protoAt), allowUnless(unix.NETLINK_RDMA, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EINVAL)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("seccomp: %w", err)
	}
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	return nil
}
