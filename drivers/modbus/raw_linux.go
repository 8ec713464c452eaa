package modbus

import (
	"syscall"
	"unsafe"
)

// readNow reads from a non-blocking descriptor. It returns at once, so the
// scheduler need not be told of a system call.
func readNow(fd uintptr, buf []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}

// writeNow writes to a non-blocking descriptor in the same way.
func writeNow(fd uintptr, buf []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)))
	if errno != 0 {
		return -1, errno
	}
	return int(n), nil
}
