package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"

	gomodbus "github.com/goburrow/modbus"
)

// library is goburrow's client on top of our line. Its TCP handler is used to
// pack and unpack frames only; its own transporter never dials.
type library struct {
	packager *gomodbus.TCPClientHandler
	client   gomodbus.Client
}

func newLibrary(t gomodbus.Transporter) *library {
	h := gomodbus.NewTCPClientHandler("")
	return &library{packager: h, client: gomodbus.NewClient2(h, t)}
}

// do runs one request. The unit is a plain field of the library's handler;
// setting it here is safe because only the endpoint's goroutine gets here.
func (b *library) do(r Request) ([]uint16, error) {
	b.packager.SlaveId = r.Unit
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
		_, err = b.client.WriteMultipleRegisters(r.Addr, uint16(len(r.Values)), pack(r.Values))
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

func pack(words []uint16) []byte {
	data := make([]byte, 0, 2*len(words))
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
