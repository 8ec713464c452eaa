package fleet

import (
	"errors"
	"net"
	"sync"
)

// Packet types as in the first byte of a packet (MQTT 3.1.1, table 2.1).
const (
	packetConnack = 2
	packetPuback  = 4
	packetSuback  = 9
)

var errPacket = errors.New("the broker sent a packet that is too large or malformed")

// guard is a socket that ends when the broker sends a packet larger than we
// take, or an acknowledgement of a wrong length: the library would allocate
// whatever the header says, and indexes a SUBACK's return codes unchecked.
type guard struct {
	net.Conn
	framing framing
	broken  func(error) // told before the library is, whose words are vaguer

	// room waits until there is room for more, or the channel closes; nil:
	// there always is.
	room   func(closed <-chan struct{})
	once   sync.Once
	closed chan struct{}
}

func newGuard(conn net.Conn, broken func(error)) *guard {
	return &guard{Conn: conn, broken: broken, closed: make(chan struct{})}
}

// Close ends a wait for room as well: the library waits for its reader.
func (g *guard) Close() error {
	g.once.Do(func() { close(g.closed) })
	return g.Conn.Close()
}

// Read passes on what was read if it keeps to the limits.
func (g *guard) Read(p []byte) (int, error) {
	if g.room != nil {
		g.room(g.closed)
	}
	n, err := g.Conn.Read(p)
	if !g.framing.follow(p[:n]) {
		g.broken(errPacket)
		return 0, errPacket
	}
	return n, err
}

// framing follows packet borders through a stream of bytes.
type framing struct {
	kind   byte
	digits int  // length bytes seen, while in the header
	header bool // the first byte of a packet was seen, its length is not complete
	left   int  // length so far, then bytes left of the body
	most   int  // the largest packet to take; 0: maxPacket
}

// follow tells whether the bytes keep to the limits.
func (f *framing) follow(p []byte) bool {
	for len(p) > 0 {
		if !f.header {
			if f.left > 0 {
				n := min(f.left, len(p))
				f.left -= n
				p = p[n:]
				continue
			}
			f.kind, f.header, f.digits, f.left = p[0]>>4, true, 0, 0
			p = p[1:]
			continue
		}
		b := p[0]
		p = p[1:]
		f.left |= int(b&0x7f) << (7 * f.digits)
		f.digits++
		if b&0x80 != 0 {
			if f.digits == 4 { // MQTT 3.1.1, 2.2.3: at most four
				return false
			}
			continue
		}
		f.header = false
		if !f.fits() {
			return false
		}
	}
	return true
}

// fits judges a complete header. We subscribe to one filter at a time, so that
// a SUBACK has one return code.
func (f *framing) fits() bool {
	switch f.kind {
	case packetConnack, packetPuback:
		return f.left == 2
	case packetSuback:
		return f.left == 3
	default:
		return f.left <= max(f.most, maxPacket)
	}
}
