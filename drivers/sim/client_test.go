package sim

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// raw is a Modbus/TCP client of a few lines: what it gets wrong cannot be the
// same as what a library gets wrong.
type raw struct {
	t    *testing.T
	c    net.Conn
	unit byte
	tid  uint16
}

func dial(t *testing.T, addr string, unit byte) *raw {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &raw{t: t, c: c, unit: unit}
}

// do sends a PDU and returns the answer's, within two seconds.
func (r *raw) do(pdu ...byte) ([]byte, error) {
	r.tid++
	return r.ask(2*time.Second, pdu)
}

func (r *raw) ask(within time.Duration, pdu []byte) ([]byte, error) {
	if err := r.c.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	out := []byte{byte(r.tid >> 8), byte(r.tid), 0, 0, byte((len(pdu) + 1) >> 8), byte(len(pdu) + 1), r.unit}
	if _, err := r.c.Write(append(out, pdu...)); err != nil {
		return nil, err
	}
	head := make([]byte, 7)
	if _, err := io.ReadFull(r.c, head); err != nil {
		return nil, err
	}
	body := make([]byte, int(binary.BigEndian.Uint16(head[4:]))-1)
	if _, err := io.ReadFull(r.c, body); err != nil {
		return nil, err
	}
	if got := binary.BigEndian.Uint16(head); got != r.tid {
		return body, fmt.Errorf("transaction %d answered as %d", r.tid, got)
	}
	return body, nil
}

func be(words ...uint16) []byte {
	var out []byte
	for _, w := range words {
		out = append(out, byte(w>>8), byte(w))
	}
	return out
}

// read reads registers with function 3.
func (r *raw) read(addr, count uint16) []uint16 {
	r.t.Helper()
	got, err := r.do(append([]byte{3}, be(addr, count)...)...)
	if err != nil {
		r.t.Fatal(err)
	}
	if got[0] != 3 || int(got[1]) != 2*int(count) || len(got) != 2+2*int(count) {
		r.t.Fatalf("read %d+%d: answer % x", addr, count, got)
	}
	words := make([]uint16, count)
	for i := range words {
		words[i] = binary.BigEndian.Uint16(got[2+2*i:])
	}
	return words
}

// write writes registers with function 16 and returns the exception, or 0.
func (r *raw) write(addr uint16, words ...uint16) byte {
	r.t.Helper()
	pdu := append([]byte{16}, be(addr, uint16(len(words)))...)
	pdu = append(append(pdu, byte(2*len(words))), be(words...)...)
	got, err := r.do(pdu...)
	if err != nil {
		r.t.Fatal(err)
	}
	if got[0] == 0x90 {
		return got[1]
	}
	return 0
}

// start runs the plant until the test ends.
func start(t *testing.T, p *Plant) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

// eventually polls until ok, at most five seconds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}
