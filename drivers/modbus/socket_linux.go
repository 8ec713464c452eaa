package modbus

import (
	"syscall"
	"time"
)

// tcpUserTimeout is TCP_USER_TIMEOUT of linux/tcp.h, the same on every
// architecture; package syscall names it on some only.
const tcpUserTimeout = 0x12

// userTimeout bounds how long the kernel waits for an acknowledgement.
func userTimeout(fd uintptr, patience time.Duration) error {
	return syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(patience.Milliseconds()))
}
