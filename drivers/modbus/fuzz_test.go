package modbus

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"
)

// FuzzAnswer lets a peer answer with arbitrary bytes. Whatever they are: no
// panic, and words only of exactly the asked number.
func FuzzAnswer(f *testing.F) {
	f.Add(ReadHolding, uint16(2), true, []byte{0, 0, 0, 7, 1, 3, 4, 1, 2, 3, 4})
	f.Add(ReadHolding, uint16(2), true, []byte{0, 0, 0, 5, 1, 3, 2, 1, 2})
	f.Add(ReadInput, uint16(1), true, []byte{0, 0, 0, 3, 1, 4, 0})
	f.Add(ReadHolding, uint16(1), true, []byte{0, 0, 0, 2, 1, 0x83})
	f.Add(ReadHolding, uint16(1), true, []byte{0, 0, 0, 3, 1, 0x83, 6})
	f.Add(WriteSingle, uint16(1), true, []byte{0, 0, 0, 6, 1, 6, 0, 10, 0, 1})
	f.Add(WriteMultiple, uint16(2), true, []byte{0, 0, 0, 6, 1, 16, 0, 10, 0, 2})
	f.Add(ReadHolding, uint16(125), false, []byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Add(ReadHolding, uint16(1), true, []byte{0, 0, 0, 0, 1, 3, 2, 0, 0})
	f.Add(ReadHolding, uint16(1), false, []byte{9, 9, 0, 0, 0, 5, 1, 3, 2, 0, 0, 9, 9, 0, 0, 0xFF, 0xFF})
	f.Fuzz(func(t *testing.T, fc byte, count uint16, ours bool, answer []byte) {
		r := Request{Unit: 1, Func: fc, Addr: 10, Count: count}
		if r.isWrite() {
			r.Values = make([]uint16, min(count, 200))
		}
		r, err := r.prepare(Quirks{}.withDefaults())
		if err != nil {
			t.Skip()
		}
		words, err := converse(t, r, ours, answer)
		if err != nil && words != nil {
			t.Errorf("words %x with error %v", words, err)
		}
		if err == nil && !r.isWrite() && len(words) != int(r.Count) {
			t.Errorf("%d words for %d registers", len(words), r.Count)
		}
	})
}

// converse runs one request against a peer that answers with the given bytes,
// behind the right transaction id if ours, and closes.
func converse(t *testing.T, r Request, ours bool, answer []byte) ([]uint16, error) {
	near, far := net.Pipe()
	defer near.Close()
	near.SetDeadline(time.Now().Add(5 * time.Second))
	peer := make(chan struct{})
	go func() {
		defer close(peer)
		defer far.Close()
		request := make([]byte, headerSize)
		if _, err := io.ReadFull(far, request); err != nil {
			return
		}
		io.CopyN(io.Discard, far, int64(binary.BigEndian.Uint16(request[4:])))
		if ours {
			answer = append(request[:2:2], answer...)
		}
		far.Write(answer)
	}()
	txid := uint16(7)
	l := newLine(near, &txid)
	words, err := newLibrary(l).do(r)
	if err == nil {
		err = l.clean()
		if err != nil {
			words = nil
		}
	}
	near.Close()
	<-peer
	return words, err
}
