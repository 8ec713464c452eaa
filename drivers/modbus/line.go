package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"time"
)

const (
	headerSize = 6 // transaction, protocol and length; the unit is counted in length
	minLength  = 2 // unit and function code
	maxLength  = 254

	// maxForeign bounds the answers of other transactions skipped while
	// waiting for one; a peer that sends more is not answering us.
	maxForeign = 16
	// maxAbandoned bounds the transactions remembered as given up.
	maxAbandoned = 8
)

// line is one connection and what is known of its state. Only the goroutine
// inside Endpoint.Run uses it; closing conn from elsewhere is allowed. It is
// the Transporter under the library's client.
type line struct {
	conn net.Conn
	raw  syscall.RawConn // nil where the connection has no file descriptor

	peek    func(fd uintptr) bool // made once: it runs before every request
	peeked  int
	peekErr error

	buf [2 * (headerSize + maxLength)]byte
	n   int // bytes of buf not yet consumed

	txid      *uint16  // the only counter, owned by the endpoint
	abandoned []uint16 // given up after a timeout; their answers may still come
	misses    int      // timeouts in a row
	proven    bool     // a valid answer came on this connection
	late      uint64   // answers skipped
	answered  time.Time
	anyUnit   bool // of the request under way

	sent  time.Time // just before the last write
	wrote bool      // the last write handed bytes to the socket
}

func newLine(conn net.Conn, txid *uint16) *line {
	l := &line{conn: conn, txid: txid}
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			l.raw = raw
		}
	}
	l.peek = func(fd uintptr) bool {
		l.peeked, l.peekErr = syscall.Read(int(fd), l.buf[l.n:])
		return true
	}
	return l
}

// port is the local one of the connection.
func (l *line) port() int {
	if a, ok := l.conn.LocalAddr().(*net.TCPAddr); ok {
		return a.Port
	}
	return 0
}

// Send hands one request to the socket and waits for its answer until the
// connection's deadline. It replaces the transaction id: the library counts per
// unit, and two units behind one socket must not share an id.
func (l *line) Send(request []byte) ([]byte, error) {
	*l.txid++
	id := *l.txid
	l.forget(id)
	binary.BigEndian.PutUint16(request, id)

	l.sent = time.Now()
	n, err := l.conn.Write(request)
	l.wrote = n > 0
	if err != nil {
		return nil, fmt.Errorf("%w while sending: %w", ErrLost, err)
	}
	for range maxForeign {
		frame, err := l.frame()
		if err != nil {
			if errors.Is(err, ErrTimeout) {
				l.abandon(id)
			}
			return nil, err
		}
		if transaction(frame) == id {
			if l.anyUnit {
				frame[atUnit] = request[atUnit]
			}
			if err := checkAnswer(request, frame); err != nil {
				return nil, err
			}
			l.misses, l.proven = 0, true
			return frame, nil
		}
		l.skip(frame)
	}
	return nil, fmt.Errorf("%w: %d answers in a row with foreign transaction ids", ErrProtocol, maxForeign)
}

// frame reads one whole frame into a buffer of its own. ErrTimeout means the
// deadline passed between frames; inside a frame it is a lost connection,
// because the rest of the bytes can no longer be told from a new frame.
func (l *line) frame() ([]byte, error) {
	for {
		frame, err := l.next()
		if frame != nil || err != nil {
			return frame, err
		}
		n, err := l.conn.Read(l.buf[l.n:])
		l.n += n
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: %w", ErrLost, err)
		case l.n > 0:
			return nil, fmt.Errorf("%w: %w after %d bytes of an answer", ErrLost, ErrTimeout, l.n)
		default:
			return nil, ErrTimeout
		}
	}
}

// next takes one whole frame out of the buffer, or returns nil if there is
// none. The header is judged before the body is waited for.
func (l *line) next() ([]byte, error) {
	if l.n < headerSize {
		return nil, nil
	}
	length := int(binary.BigEndian.Uint16(l.buf[4:]))
	if protocol := binary.BigEndian.Uint16(l.buf[2:]); protocol != 0 {
		return nil, fmt.Errorf("%w: protocol id %d in the header, want 0", ErrProtocol, protocol)
	}
	if length < minLength || length > maxLength {
		return nil, fmt.Errorf("%w: length %d in the header, want %d-%d", ErrProtocol, length, minLength, maxLength)
	}
	total := headerSize + length
	if l.n < total {
		return nil, nil
	}
	frame := slices.Clone(l.buf[:total])
	l.n = copy(l.buf[:], l.buf[total:l.n])
	return frame, nil
}

// clean takes in what arrived while no request was under way, without
// waiting. Answers of abandoned transactions are skipped; anything else, and
// the peer's close, makes the connection unusable.
func (l *line) clean() error {
	if err := l.drain(); err != nil {
		return err
	}
	for {
		frame, err := l.next()
		if err != nil {
			return err
		}
		if frame == nil {
			break
		}
		if !slices.Contains(l.abandoned, transaction(frame)) {
			return fmt.Errorf("%w: answer to a request never made", ErrProtocol)
		}
		l.skip(frame)
	}
	if l.n > 0 && len(l.abandoned) == 0 {
		return fmt.Errorf("%w: %d bytes nobody asked for", ErrProtocol, l.n)
	}
	return nil
}

// drain moves what the socket holds into the buffer. The descriptor is
// non-blocking, so a plain read system call returns at once. net.Conn cannot
// do this: with a deadline in the past it returns without reading.
func (l *line) drain() error {
	if l.raw == nil || l.n == len(l.buf) {
		return nil
	}
	err := l.raw.Read(l.peek)
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrLost, err)
	case l.peekErr == syscall.EAGAIN, l.peekErr == syscall.EINTR:
		return nil
	case l.peekErr != nil:
		return fmt.Errorf("%w: %w", ErrLost, l.peekErr)
	case l.peeked == 0:
		return fmt.Errorf("%w: closed by the device", ErrLost)
	}
	l.n += l.peeked
	return nil
}

// abandon remembers a transaction whose answer may still come.
func (l *line) abandon(id uint16) {
	if len(l.abandoned) == maxAbandoned {
		l.abandoned = slices.Delete(l.abandoned, 0, 1)
	}
	l.abandoned = append(l.abandoned, id)
}

func (l *line) forget(id uint16) {
	if i := slices.Index(l.abandoned, id); i >= 0 {
		l.abandoned = slices.Delete(l.abandoned, i, i+1)
	}
}

// skip counts an answer that is not ours.
func (l *line) skip(frame []byte) {
	l.late++
	l.forget(transaction(frame))
}

func transaction(frame []byte) uint16 { return binary.BigEndian.Uint16(frame) }

// Offsets inside a frame, past the header.
const (
	atUnit = headerSize
	atFunc = headerSize + 1
	atData = headerSize + 2
)

// checkAnswer judges a whole frame with our transaction id against its
// request: unit, function code, and the exact length the request implies. The
// library checks none of the three reliably.
func checkAnswer(request, answer []byte) error {
	fc, got := request[atFunc], answer[atFunc]
	data := answer[atData:]
	if answer[atUnit] != request[atUnit] {
		return fmt.Errorf("%w: %d, asked unit %d", ErrOtherUnit, answer[atUnit], request[atUnit])
	}
	want := 4 // a write echoes the address and the value or the quantity
	switch {
	case got == fc|0x80:
		want = 1
	case got != fc:
		return fmt.Errorf("%w: function %d, asked function %d", ErrProtocol, got, fc)
	case fc == ReadHolding || fc == ReadInput:
		count := 2 * int(binary.BigEndian.Uint16(request[atData+2:]))
		if len(data) == 0 || int(data[0]) != count {
			return fmt.Errorf("%w: byte count is not %d", ErrProtocol, count)
		}
		want = 1 + count
	}
	if len(data) != want {
		return fmt.Errorf("%w: %d bytes of data, want %d", ErrProtocol, len(data), want)
	}
	if got == WriteSingle || got == WriteMultiple {
		return checkEcho(request, answer)
	}
	return nil
}

// checkEcho compares the address of a write, and the quantity of a multiple
// one. The value of a single write is left to the library: a device that
// clamps answers another value on a healthy connection.
func checkEcho(request, answer []byte) error {
	n := 2
	if request[atFunc] == WriteMultiple {
		n = 4
	}
	if !slices.Equal(request[atData:atData+n], answer[atData:atData+n]) {
		return fmt.Errorf("%w: write echoed another address or quantity", ErrProtocol)
	}
	return nil
}
