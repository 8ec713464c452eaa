package modbus

import (
	"fmt"
	"time"
)

// Function codes this package speaks (Modbus Application Protocol V1.1b3, section 6).
const (
	ReadHolding   byte = 3
	ReadInput     byte = 4
	WriteSingle   byte = 6
	WriteMultiple byte = 16
)

// Protocol limits of registers in one request (same paper, 6.3 and 6.12), and
// the size of a unit's address space.
const (
	protocolMaxRead  = 125
	protocolMaxWrite = 123
	addressSpace     = 1 << 16
)

// Priority orders the requests that wait for the line.
type Priority int

// Priorities, lowest first. A write that asks for Read is queued as Write.
const (
	Read Priority = iota
	Write
	// Stop jumps everything that waits, cuts into a request that hangs, dials
	// at once during back-off, and takes queued writes to its unit off the
	// queue, so that none of them lands after it.
	Stop
	priorities
)

// Request is one read or write of consecutive 16-bit registers. Addresses are
// as sent on the wire, counted from 0.
type Request struct {
	Unit     byte
	Func     byte
	Addr     uint16
	Count    uint16   // registers to read; ignored by writes
	Values   []uint16 // registers to write; exactly one for WriteSingle
	Priority Priority

	// UnitZero says that unit 0 is meant: the device itself answers it. On a
	// serial line it is the broadcast address, and nothing does.
	UnitZero bool
	// AnyUnit takes an answer that bears another unit than was asked, as some
	// devices and gateways give. The transaction id tells whose it is.
	AnyUnit bool
}

// Response is the answer to a request. Words is nil after a write.
type Response struct {
	Words []uint16
	Sent  time.Time // just before the first byte of the final attempt was handed to the socket
	Done  time.Time // when the whole answer was there
}

func (r Request) isWrite() bool {
	return r.Func == WriteSingle || r.Func == WriteMultiple
}

// String names the request for errors and logs, without its values.
func (r Request) String() string {
	verb, n := "read", int(r.Count)
	if r.isWrite() {
		verb, n = "write", len(r.Values)
	}
	return fmt.Sprintf("%s unit %d register %d+%d (function %d)", verb, r.Unit, r.Addr, n, r.Func)
}

// prepare checks r against the protocol and the device's limits and returns it
// as it is queued: with its own copy of the values, and a write never below
// Write.
func (r Request) prepare(q Quirks) (Request, error) {
	n, most := int(r.Count), q.MaxRead
	if r.isWrite() {
		n, most = len(r.Values), q.MaxWrite
		r.Values = append([]uint16(nil), r.Values...)
		r.Priority = max(r.Priority, Write)
	}
	bad := func(format string, args ...any) (Request, error) {
		return r, fmt.Errorf("%s: %w: "+format, append([]any{r, ErrInvalid}, args...)...)
	}
	switch r.Func {
	case ReadHolding, ReadInput, WriteMultiple:
	case WriteSingle:
		most = 1
	default:
		return bad("function %d is not supported, use 3, 4, 6 or 16", r.Func)
	}
	switch {
	case r.Unit == 0 && !r.UnitZero:
		return bad("unit 0 is the broadcast address and is never answered, use 1-255")
	case n < 1 || n > most:
		return bad("%d registers in one request, must be 1-%d", n, most)
	case int(r.Addr)+n > addressSpace:
		return bad("the last register would be beyond 65535")
	case r.Priority < Read || r.Priority >= priorities:
		return bad("priority %d is unknown", r.Priority)
	}
	return r, nil
}
