package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"

	gomodbus "github.com/goburrow/modbus"
)

// library is goburrow's client between our line and our frames: its own
// transporter never dials, and its own packager would make each frame anew.
type library struct {
	client gomodbus.Client
	unit   byte
	adu    [headerSize + maxLength]byte
	pdu    gomodbus.ProtocolDataUnit
	data   [2 * protocolMaxWrite]byte
}

func newLibrary(t gomodbus.Transporter) *library {
	b := &library{}
	b.client = gomodbus.NewClient2(b, t)
	return b
}

// Encode frames a request; the line puts in the transaction.
func (b *library) Encode(pdu *gomodbus.ProtocolDataUnit) ([]byte, error) {
	size := atData + len(pdu.Data)
	if size > len(b.adu) {
		return nil, fmt.Errorf("%w: %d bytes in one request", ErrInvalid, size)
	}
	binary.BigEndian.PutUint32(b.adu[:], 0)
	binary.BigEndian.PutUint16(b.adu[4:], uint16(size-headerSize))
	b.adu[atUnit], b.adu[atFunc] = b.unit, pdu.FunctionCode
	copy(b.adu[atData:], pdu.Data)
	return b.adu[:size], nil
}

// Verify has nothing to do: the line judged the answer.
func (b *library) Verify([]byte, []byte) error { return nil }

// Decode takes an answer out of its frame.
func (b *library) Decode(adu []byte) (*gomodbus.ProtocolDataUnit, error) {
	b.pdu = gomodbus.ProtocolDataUnit{FunctionCode: adu[atFunc], Data: adu[atData:]}
	return &b.pdu, nil
}

// do runs one request.
func (b *library) do(r Request) ([]uint16, error) {
	b.unit = r.Unit
	var data []byte
	var err error
	switch r.Func {
	case ReadHolding:
		data, err = b.client.ReadHoldingRegisters(r.Addr, r.Count)
	case ReadInput:
		data, err = b.client.ReadInputRegisters(r.Addr, r.Count)
	case WriteSingle:
		_, err = b.client.WriteSingleRegister(r.Addr, r.Values[0])
	case WriteMultiple:
		_, err = b.client.WriteMultipleRegisters(r.Addr, uint16(len(r.Values)), b.pack(r.Values))
	}
	if err != nil || r.isWrite() {
		return nil, translate(r, err)
	}
	if len(data) != 2*int(r.Count) {
		return nil, fmt.Errorf("%w: %d bytes for %d registers", ErrProtocol, len(data), r.Count)
	}
	return unpack(data), nil
}

// translate gives the library's own errors our types. What is left after an
// exception and the line's errors is the echo of a single write: everything
// else was judged in the line.
func translate(r Request, err error) error {
	var exception *gomodbus.ModbusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exception):
		return &Exception{Func: r.Func, Code: exception.ExceptionCode}
	case errors.Is(err, ErrTimeout), errors.Is(err, ErrLost), errors.Is(err, ErrProtocol):
		return err
	case r.Func == WriteSingle:
		return fmt.Errorf("%w: %w", ErrEcho, err)
	default:
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
}

func (b *library) pack(words []uint16) []byte {
	data := b.data[:0]
	for _, w := range words {
		data = binary.BigEndian.AppendUint16(data, w)
	}
	return data
}

func unpack(data []byte) []uint16 {
	words := make([]uint16, len(data)/2)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(data[2*i:])
	}
	return words
}
