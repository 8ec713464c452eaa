package clock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// The SNTP packet (RFC 4330 section 4, RFC 5905 section 7.3): 48 bytes, and
// behind them only what a client without keys ignores.
const (
	packetSize = 48
	maxPacket  = 512

	modeClient, modeServer = 3, 4
	version                = 4
	leapUnknown            = 3  // the server is not synchronised itself
	maxStratum             = 15 // 16 is "not synchronised"
	// maxDistance is how far from its reference a server may be (RFC 5905
	// section 11.2.1, MAXDIST).
	maxDistance = 1500 * time.Millisecond
)

// errForeign is a packet that is no answer to our question: it is passed over.
var errForeign = errors.New("not an answer to our question")

// kiss is a server's order to ask less, or never again (RFC 5905 section 7.4).
type kiss string

func (k kiss) Error() string {
	switch k {
	case "RATE":
		return "it wants to be asked less often (RATE)"
	case "DENY", "RSTR":
		return fmt.Sprintf("it does not serve us (%s)", string(k))
	}
	return fmt.Sprintf("it does not tell the time now (%q)", string(k))
}

// reply is what a server's packet says.
type reply struct {
	stratum           int
	received, answers time.Time // by the server's clock: our question, its answer
}

// question is a client's packet. The transmit timestamp is a random number
// that the answer must repeat: our clock is nobody's business, and whoever
// does not see the question cannot answer it.
func question(nonce uint64) []byte {
	b := make([]byte, packetSize)
	b[0] = version<<3 | modeClient
	binary.BigEndian.PutUint64(b[40:], nonce)
	return b
}

// parseReply reads an answer to the question with the nonce. It gives
// errForeign for what is none, a kiss for an order of the server, and another
// error for a server that does not know the time.
func parseReply(b []byte, nonce uint64) (reply, error) {
	if len(b) < packetSize || b[0]&7 != modeServer || binary.BigEndian.Uint64(b[24:]) != nonce {
		return reply{}, errForeign
	}
	if v := b[0] >> 3 & 7; v < 3 || v > version {
		return reply{}, fmt.Errorf("it answers in version %d of the protocol", v)
	}
	r := reply{stratum: int(b[1])}
	if r.stratum == 0 {
		return r, kiss(printable(b[12:16]))
	}
	if r.stratum > maxStratum || b[0]>>6 == leapUnknown {
		return r, fmt.Errorf("it is not synchronised itself (stratum %d)", r.stratum)
	}
	if d := short(b[4:])/2 + short(b[8:]); d >= maxDistance {
		return r, fmt.Errorf("it is %v from its own reference, at most %v is good enough", d.Round(time.Millisecond), maxDistance)
	}
	r.received, r.answers = instant(b[32:]), instant(b[40:])
	if binary.BigEndian.Uint64(b[32:]) == 0 || binary.BigEndian.Uint64(b[40:]) == 0 {
		return r, errors.New("it gives no time")
	}
	if took := r.answers.Sub(r.received); took < 0 || took > askLimit {
		return r, fmt.Errorf("it says that it needed %v to answer", took)
	}
	return r, nil
}

// printable keeps what may be shown of four bytes.
func printable(b []byte) string {
	out := make([]byte, 0, 4)
	for _, c := range b {
		if c > ' ' && c < 0x7f {
			out = append(out, c)
		}
	}
	return string(out)
}

// short is a duration in seconds and 65536ths of one. What is negative, and so
// nonsense, comes out large.
func short(b []byte) time.Duration {
	v := binary.BigEndian.Uint32(b)
	return time.Duration(v>>16)*time.Second + time.Duration(v&0xffff)*time.Second/65536
}

// instant reads seconds and fractions since 1900, or since 7 February 2036
// where the highest bit is clear (RFC 4330 section 3): good until 2104.
func instant(b []byte) time.Time {
	const epoch1900, epoch2036 = -2208988800, 2085978496
	sec, frac := binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])
	from := int64(epoch2036)
	if sec>>31 == 1 {
		from = epoch1900
	}
	return time.Unix(from+int64(sec), int64(uint64(frac)*1e9>>32)).UTC()
}
