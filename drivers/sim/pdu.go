package sim

import (
	"encoding/binary"
	"fmt"
)

// Function codes (MODBUS Application Protocol V1.1b3, section 6).
const (
	funcReadHolding = 3
	funcReadInput   = 4
	funcWriteOne    = 6
	funcWriteMany   = 16
)

// Exception codes (same, section 7).
const (
	ExceptionFunction = 1  // illegal function
	ExceptionAddress  = 2  // illegal data address
	ExceptionValue    = 3  // illegal data value
	ExceptionFailure  = 4  // server device failure
	ExceptionAck      = 5  // accepted, still working
	ExceptionBusy     = 6  // server device busy
	ExceptionTarget   = 11 // gateway: no answer from the unit behind it
)

const (
	headerSize = 7   // MBAP: transaction, protocol, length, unit
	maxPDU     = 253 // V1.1b3 section 4.1
	maxRead    = 125
	maxWrite   = 123
)

// request is one well-formed request.
type request struct {
	unit  byte
	fn    byte
	addr  int
	count int
	words []uint16 // writes
}

func (r request) write() bool { return r.fn == funcWriteOne || r.fn == funcWriteMany }

// header reads an MBAP header: how many bytes of PDU follow, and for whom.
func header(b []byte) (transaction uint16, unit byte, size int, err error) {
	if len(b) != headerSize {
		return 0, 0, 0, fmt.Errorf("header of %d bytes", len(b))
	}
	if protocol := binary.BigEndian.Uint16(b[2:]); protocol != 0 {
		return 0, 0, 0, fmt.Errorf("protocol %d is not modbus", protocol)
	}
	size = int(binary.BigEndian.Uint16(b[4:])) - 1
	if size < 1 || size > maxPDU {
		return 0, 0, 0, fmt.Errorf("PDU of %d bytes", size)
	}
	return binary.BigEndian.Uint16(b), b[6], size, nil
}

// parsePDU reads a request; exception is 0 when it is well formed.
func parsePDU(unit byte, pdu []byte) (r request, exception byte) {
	if len(pdu) == 0 {
		return request{}, ExceptionFunction
	}
	r = request{unit: unit, fn: pdu[0]}
	body := pdu[1:]
	switch r.fn {
	case funcReadHolding, funcReadInput:
		if len(body) != 4 {
			return r, ExceptionValue
		}
		r.addr = int(binary.BigEndian.Uint16(body))
		r.count = int(binary.BigEndian.Uint16(body[2:]))
		if r.count < 1 || r.count > maxRead {
			return r, ExceptionValue
		}
	case funcWriteOne:
		if len(body) != 4 {
			return r, ExceptionValue
		}
		r.addr, r.count = int(binary.BigEndian.Uint16(body)), 1
		r.words = []uint16{binary.BigEndian.Uint16(body[2:])}
	case funcWriteMany:
		if len(body) < 5 {
			return r, ExceptionValue
		}
		r.addr = int(binary.BigEndian.Uint16(body))
		r.count = int(binary.BigEndian.Uint16(body[2:]))
		if r.count < 1 || r.count > maxWrite || int(body[4]) != 2*r.count || len(body) != 5+2*r.count {
			return r, ExceptionValue
		}
		for i := range r.count {
			r.words = append(r.words, binary.BigEndian.Uint16(body[5+2*i:]))
		}
	default:
		return r, ExceptionFunction
	}
	if r.addr+r.count > 65536 {
		return r, ExceptionAddress
	}
	return r, 0
}

// answer builds the PDU of a reply.
func answer(r request, words []uint16, exception byte) []byte {
	if exception != 0 {
		return []byte{r.fn | 0x80, exception}
	}
	switch r.fn {
	case funcWriteOne:
		out := binary.BigEndian.AppendUint16([]byte{r.fn}, uint16(r.addr))
		return binary.BigEndian.AppendUint16(out, r.words[0])
	case funcWriteMany:
		out := binary.BigEndian.AppendUint16([]byte{r.fn}, uint16(r.addr))
		return binary.BigEndian.AppendUint16(out, uint16(r.count))
	}
	out := []byte{r.fn, byte(2 * len(words))}
	for _, w := range words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}

// frame puts the MBAP header before a PDU.
func frame(transaction uint16, unit byte, pdu []byte) []byte {
	out := binary.BigEndian.AppendUint16(make([]byte, 0, headerSize+len(pdu)), transaction)
	out = append(out, 0, 0)
	out = binary.BigEndian.AppendUint16(out, uint16(len(pdu)+1))
	return append(append(out, unit), pdu...)
}
