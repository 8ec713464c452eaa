//go:build !linux

package modbus

import "syscall"

// readNow reads from a non-blocking descriptor.
func readNow(fd uintptr, buf []byte) (int, error) { return syscall.Read(int(fd), buf) }

// writeNow writes to a non-blocking descriptor.
func writeNow(fd uintptr, buf []byte) (int, error) { return syscall.Write(int(fd), buf) }
