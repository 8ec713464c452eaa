package relay

import (
	"errors"
	"net"
)

var errPacket = errors.New("the broker sent a packet that is too large or malformed")

// maxIncoming is the largest packet taken from the broker: while topics are
// proven, other relays' envelopes come back as well.
const maxIncoming = 2<<20 + 1<<10

// guard is a socket that ends when the broker sends what the MQTT library
// would choke on: it allocates whatever a header says, and indexes the codes of
// a SUBACK unchecked.
type guard struct {
	net.Conn
	broken func(error) // told before the library is, whose words are vaguer

	inHeader bool
	kind     byte // packet type, MQTT 3.1.1 table 2.1
	shift    int
	length   int
	skip     int // bytes of the present body still to come
}

// Read passes on what keeps to the limits.
func (g *guard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	for rest := p[:n]; len(rest) > 0; {
		if g.skip > 0 {
			k := min(g.skip, len(rest))
			g.skip -= k
			rest = rest[k:]
			continue
		}
		if !g.header(rest[0]) {
			g.broken(errPacket)
			return 0, errPacket
		}
		rest = rest[1:]
	}
	return n, err
}

// header takes one byte of a fixed header (MQTT 3.1.1, 2.2).
func (g *guard) header(b byte) bool {
	if !g.inHeader {
		g.inHeader, g.kind, g.shift, g.length = true, b>>4, 0, 0
		return true
	}
	g.length |= int(b&0x7f) << g.shift
	g.shift += 7
	if b&0x80 != 0 {
		return g.shift < 28
	}
	g.inHeader, g.skip = false, g.length
	switch g.kind {
	case 2, 4, 11: // CONNACK, PUBACK, UNSUBACK
		return g.length == 2
	case 9: // SUBACK of one filter
		return g.length == 3
	default:
		return g.length <= maxIncoming
	}
}
