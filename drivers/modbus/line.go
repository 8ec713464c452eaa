package modbus

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
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

	turn func(fd uintptr) bool // one motion of the line, made once: see talk
	out  []byte                // the request to send in it
	got  int                   // what its read brought
	err  error                 // and what failed in it

	buf  [2 * (headerSize + maxLength)]byte
	n    int                          // bytes of buf not yet consumed
	last [headerSize + maxLength]byte // the frame taken out of it last

	txid      *uint16  // the only counter, owned by the endpoint
	abandoned []uint16 // given up after a timeout; their answers may still come
	misses    int      // timeouts in a row
	proven    bool     // a valid answer came on this connection
	late      uint64   // answers skipped
	answered  time.Time
	anyUnit   bool // of the request under way

	deadline time.Time // of the request
	due      time.Time // of the connection, as it was last set

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
	l.turn = l.talk
	return l
}

// until sets the deadline of a request. That of the connection is moved only
// where it would come too late: a timer for each request costs more than one
// that fires early now and then, and is set again.
func (l *line) until(deadline, now time.Time) error {
	l.deadline = deadline
	if l.raw != nil && l.due.After(now) && !deadline.Before(l.due) {
		return nil
	}
	return l.arm()
}

func (l *line) arm() error {
	l.due = l.deadline
	if err := l.conn.SetDeadline(l.due); err != nil {
		return fmt.Errorf("%w: %w", ErrLost, err)
	}
	return nil
}

// early reports whether err is the connection's deadline and not the request's.
func (l *line) early(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) && l.due.Before(l.deadline)
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
// unit, and two units behind one socket must not share an id. The answer is
// good until the next one is read.
func (l *line) Send(request []byte) ([]byte, error) {
	*l.txid++
	id := *l.txid
	l.forget(id)
	binary.BigEndian.PutUint16(request, id)
	if err := l.put(request); err != nil {
		if l.wrote && errors.Is(err, ErrTimeout) {
			l.abandon(id)
		}
		return nil, err
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

// put looks for bytes that should not be there and sends the request. Where
// the connection has a file descriptor it also waits for the first bytes of
// the answer: that saves a system call in vain.
func (l *line) put(request []byte) error {
	if l.raw == nil {
		if err := l.clean(); err != nil {
			return err
		}
		l.sent = time.Now()
		n, err := l.conn.Write(request)
		l.wrote = n > 0
		if err != nil {
			return fmt.Errorf("%w while sending: %w", ErrLost, err)
		}
		return nil
	}
	for l.out = request; ; {
		if err := l.clean(); err != nil {
			return err
		}
		l.got, l.err = 0, nil
		err := l.raw.Read(l.turn)
		l.n += max(l.got, 0)
		switch {
		case l.early(err):
			if err := l.arm(); err != nil {
				return err
			}
		case err != nil:
			return l.lost(err)
		case l.err != nil:
			return fmt.Errorf("%w: %w", ErrLost, l.err)
		case l.got <= 0:
			return fmt.Errorf("%w: closed by the device: %w", ErrLost, io.EOF)
		case l.out == nil:
			return nil
		}
	}
}

// talk is one motion of the line, run by the socket's RawConn until it is
// true: read what came unasked, and if there is nothing, send, wait, and read
// what comes. The descriptor is non-blocking, so each call returns at once. The
// wait is prepared before the send, so that an answer cannot slip through.
func (l *line) talk(fd uintptr) bool {
	for l.err = syscall.EINTR; l.err == syscall.EINTR; {
		l.got, l.err = readNow(fd, l.buf[l.n:])
	}
	if l.err != syscall.EAGAIN {
		return true
	}
	l.got, l.err = 0, nil
	if l.out == nil {
		return false
	}
	l.sent = time.Now()
	n, err := writeNow(fd, l.out)
	l.wrote = n > 0
	if err == nil && n < len(l.out) {
		err = io.ErrShortWrite
	}
	l.out = nil
	if err != nil {
		l.err = fmt.Errorf("while sending: %w", err)
	}
	return err != nil
}

// lost is what a failed read means. ErrTimeout alone means that the deadline
// passed between frames; inside a frame the rest of the bytes can no longer be
// told from a new one.
func (l *line) lost(err error) error {
	switch {
	case !errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: %w", ErrLost, err)
	case l.n > 0:
		return fmt.Errorf("%w: %w after %d bytes of an answer", ErrLost, ErrTimeout, l.n)
	}
	return ErrTimeout
}

// frame reads one whole frame.
func (l *line) frame() ([]byte, error) {
	for {
		frame, err := l.next()
		if frame != nil || err != nil {
			return frame, err
		}
		n, err := l.conn.Read(l.buf[l.n:])
		l.n += n
		if l.early(err) {
			err = l.arm()
		} else if err != nil {
			err = l.lost(err)
		}
		if err != nil {
			return nil, err
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
	frame := l.last[:copy(l.last[:], l.buf[:total])]
	l.n = copy(l.buf[:], l.buf[total:l.n])
	return frame, nil
}

// clean judges what arrived while no request was under way. Answers of
// abandoned transactions are skipped; anything else makes the connection
// unusable.
func (l *line) clean() error {
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
