package makers

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"flexd/drivers/modbus"
)

// Serve puts a device behind a Modbus/TCP port of its own on loopback until the
// test ends, and gives its address.
func Serve(t testing.TB, d Device) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("a device cannot listen: %v", err)
	}
	ctx, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			stop := context.AfterFunc(ctx, func() { _ = c.Close() })
			wg.Go(func() {
				defer stop()
				defer func() { _ = c.Close() }()
				for answered(ctx, c, d) {
				}
			})
		}
	})
	t.Cleanup(func() { end(); _ = ln.Close(); wg.Wait() })
	return ln.Addr().String()
}

// answered serves one request; false when the connection is over.
func answered(ctx context.Context, c net.Conn, d Device) bool {
	head := make([]byte, 7)
	if _, err := io.ReadFull(c, head); err != nil {
		return false
	}
	n := int(binary.BigEndian.Uint16(head[4:])) - 1
	if n < 5 || n > 253 {
		return false
	}
	pdu := make([]byte, n)
	if _, err := io.ReadFull(c, pdu); err != nil {
		return false
	}
	answer := execute(ctx, d, head[6], pdu)
	binary.BigEndian.PutUint16(head[4:], uint16(len(answer)+1))
	_, err := c.Write(append(head, answer...))
	return err == nil
}

// execute turns a protocol data unit into a request, and the answer into one.
func execute(ctx context.Context, d Device, unit byte, pdu []byte) []byte {
	refuse := func(code byte) []byte { return []byte{pdu[0] | 0x80, code} }
	r := modbus.Request{Unit: unit, Func: pdu[0], Addr: binary.BigEndian.Uint16(pdu[1:])}
	arg := binary.BigEndian.Uint16(pdu[3:])
	switch r.Func {
	case modbus.ReadHolding, modbus.ReadInput:
		if arg < 1 || arg > 125 {
			return refuse(modbus.IllegalValue)
		}
		r.Count = arg
	case modbus.WriteSingle:
		r.Values = []uint16{arg}
	case modbus.WriteMultiple:
		if len(pdu) != 6+2*int(arg) {
			return refuse(modbus.IllegalValue)
		}
		for i := range int(arg) {
			r.Values = append(r.Values, binary.BigEndian.Uint16(pdu[6+2*i:]))
		}
	}
	res, err := d.Do(ctx, r)
	var e *modbus.Exception
	switch {
	case errors.As(err, &e):
		return refuse(e.Code)
	case err != nil:
		return refuse(4)
	case r.Count == 0:
		return pdu[:5]
	}
	out := []byte{pdu[0], byte(2 * len(res.Words))}
	for _, w := range res.Words {
		out = binary.BigEndian.AppendUint16(out, w)
	}
	return out
}
