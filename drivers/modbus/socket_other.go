//go:build !linux

package modbus

import "time"

// userTimeout does nothing where the platform has no such bound: the reset at
// the end of the connection is what matters.
func userTimeout(uintptr, time.Duration) error { return nil }
