package clock

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"
	"time"
)

// answer is a good server's packet to a question with the nonce.
func answer(nonce uint64, at time.Time) []byte {
	b := make([]byte, packetSize)
	b[0], b[1] = version<<3|modeServer, 2
	binary.BigEndian.PutUint32(b[4:], 1<<16/100) // root delay 10 ms
	binary.BigEndian.PutUint32(b[8:], 1<<16/100)
	binary.BigEndian.PutUint64(b[24:], nonce)
	putInstant(b[32:], at)
	putInstant(b[40:], at)
	return b
}

func putInstant(b []byte, t time.Time) {
	binary.BigEndian.PutUint32(b, uint32(t.Unix()+2208988800))
	binary.BigEndian.PutUint32(b[4:], uint32(uint64(t.Nanosecond())<<32/1e9))
}

func TestReplies(t *testing.T) {
	const nonce = 0x0123456789abcdef
	at := time.Date(2026, 5, 4, 3, 2, 1, 500_000_000, time.UTC)
	with := func(change func([]byte)) []byte { b := answer(nonce, at); change(b); return b }
	for _, tc := range []struct {
		name string
		b    []byte
		want string // part of the error; "" for none
		kiss kiss
	}{
		{name: "a good answer", b: answer(nonce, at)},
		{name: "version 3 is as good", b: with(func(b []byte) { b[0] = 3<<3 | modeServer })},
		{name: "a key behind it is passed over", b: append(answer(nonce, at), make([]byte, 20)...)},
		{name: "a leap second to come is no trouble", b: with(func(b []byte) { b[0] |= 1 << 6 })},
		{name: "cut short", b: answer(nonce, at)[:47], want: errForeign.Error()},
		{name: "empty", b: nil, want: errForeign.Error()},
		{name: "another question's", b: answer(nonce+1, at), want: errForeign.Error()},
		{name: "our own question come back", b: question(nonce), want: errForeign.Error()},
		{name: "a broadcast", b: with(func(b []byte) { b[0] = version<<3 | 5 }), want: errForeign.Error()},
		{name: "version 1", b: with(func(b []byte) { b[0] = 1<<3 | modeServer }), want: "version 1"},
		{name: "not synchronised by its leap bits", b: with(func(b []byte) { b[0] |= 3 << 6 }), want: "not synchronised"},
		{name: "not synchronised by its stratum", b: with(func(b []byte) { b[1] = 16 }), want: "not synchronised"},
		{name: "far from its reference", b: with(func(b []byte) { b[9] = 2 }), want: "from its own reference"},
		{name: "a negative root delay", b: with(func(b []byte) { b[4] = 0xff }), want: "from its own reference"},
		{name: "no transmit time", b: with(func(b []byte) { clear(b[40:48]) }), want: "no time"},
		{name: "no receive time", b: with(func(b []byte) { clear(b[32:40]) }), want: "no time"},
		{name: "answered before it was asked", b: with(func(b []byte) { putInstant(b[40:], at.Add(-time.Second)) }), want: "needed"},
		{name: "answered after an hour", b: with(func(b []byte) { putInstant(b[40:], at.Add(time.Hour)) }), want: "needed"},
		{name: "kiss: less often", b: with(func(b []byte) { b[1] = 0; copy(b[12:], "RATE") }), want: "less often", kiss: "RATE"},
		{name: "kiss: never", b: with(func(b []byte) { b[1] = 0; copy(b[12:], "DENY") }), want: "does not serve", kiss: "DENY"},
		{name: "a kiss that cannot be shown", b: with(func(b []byte) { b[1] = 0; copy(b[12:], "\x1b[2J") }), want: `"[2J"`, kiss: "[2J"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := parseReply(tc.b, nonce)
			if tc.want == "" {
				if err != nil || r.answers.Sub(at).Abs() > time.Microsecond || !r.received.Equal(r.answers) || r.stratum != 2 {
					t.Errorf("reply %+v, %v", r, err)
				}
				return
			}
			var k kiss
			if err == nil || !strings.Contains(err.Error(), tc.want) || errors.As(err, &k) != (tc.kiss != "") || k != tc.kiss {
				t.Errorf("error %v, want %q, kiss %q", err, tc.want, tc.kiss)
			}
		})
	}
}

func TestTimestampsGoOnIn2036(t *testing.T) {
	for _, want := range []time.Time{
		time.Date(1970, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Date(2036, 2, 7, 6, 28, 15, 0, time.UTC),
		time.Date(2036, 2, 7, 6, 28, 16, 0, time.UTC),
		time.Date(2090, 7, 1, 12, 0, 0, 0, time.UTC),
	} {
		var b [8]byte
		if putInstant(b[:], want); !instant(b[:]).Equal(want) {
			t.Errorf("%s comes back as %s", want, instant(b[:]))
		}
	}
}

// Whatever comes, only an answer to the question is taken, and what is taken
// is within the years that the timestamps can say.
func FuzzReply(f *testing.F) {
	const nonce = 0x0123456789abcdef
	f.Add(answer(nonce, time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)))
	f.Add(question(nonce))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseReply(b, nonce)
		if err != nil {
			if len(err.Error()) > 200 {
				t.Errorf("an error of %d bytes", len(err.Error()))
			}
			return
		}
		if binary.BigEndian.Uint64(b[24:]) != nonce || r.stratum < 1 || r.stratum > maxStratum {
			t.Errorf("taken: %+v", r)
		}
		if took := r.answers.Sub(r.received); took < 0 || took > askLimit || r.answers.Year() < 1968 || r.answers.Year() > 2104 {
			t.Errorf("taken: %+v", r)
		}
	})
}
