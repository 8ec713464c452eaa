package fleet

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestParseGrant(t *testing.T) {
	for name, c := range map[string]struct {
		raw  string
		want grant
		ok   bool
	}{
		"a stream and a number":           {`{"stream":"ack","upto":7}`, grant{Stream: flex.StreamAck, Upto: 7}, true},
		"fields beside them are ignored":  {`{"id":"x","stream":"tele","upto":1,"at":0}`, grant{Stream: flex.StreamTele, Upto: 1}, true},
		"the largest number is a number":  {`{"stream":"ack","upto":18446744073709551615}`, grant{Stream: flex.StreamAck, Upto: math.MaxUint64}, true},
		"an epoch and a part of it":       {`{"stream":"tele","epoch":"e","from":3,"upto":7}`, grant{flex.StreamTele, "e", 3, 7}, true},
		"a part without an end":           {`{"stream":"tele","from":8,"upto":7}`, grant{}, false},
		"nothing is not a grant":          {``, grant{}, false},
		"null names no stream":            {`null`, grant{}, false},
		"state is no stream of an outbox": {`{"stream":"state","upto":7}`, grant{}, false},
		"zero acknowledges nothing":       {`{"stream":"ack","upto":0}`, grant{}, false},
		"a negative number is refused":    {`{"stream":"ack","upto":-1}`, grant{}, false},
		"a fraction is refused":           {`{"stream":"ack","upto":1.5}`, grant{}, false},
		"two documents are refused":       {`{"stream":"ack","upto":1}{}`, grant{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseGrant([]byte(c.raw))
			if got != c.want || (err == nil) != c.ok {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func FuzzParseGrant(f *testing.F) {
	for _, s := range []string{`{"stream":"ack","upto":7}`, `{"stream":"tele","upto":1,"id":"a"}`, `null`, `[]`, `{"stream":3}`, `{"upto":1e3}`, "\xff"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := parseGrant(raw)
		if err != nil && g != (grant{}) {
			t.Errorf("an error and a grant: %+v", g)
		}
		if err == nil && (g.Upto == 0 || g.Stream == "") {
			t.Errorf("an empty grant: %+v", g)
		}
		if id := requestID(raw); len(id) > maxRequestID || strings.ContainsAny(id, "\x00\n ") {
			t.Errorf("request id %q", id)
		}
	})
}

func FuzzFraming(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0xd0, 0}, 1)
	f.Add([]byte{0x90, 3, 0, 1, 0x80}, 2)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 3)
	f.Add([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 1)
	f.Fuzz(func(t *testing.T, raw []byte, cut int) {
		var whole, parts framing
		ok := whole.follow(raw)
		if cut < 1 {
			cut = 1
		}
		for rest := raw; len(rest) > 0; {
			n := min(cut, len(rest))
			if !parts.follow(rest[:n]) {
				if ok {
					t.Fatal("refused in parts, taken whole")
				}
				return
			}
			rest = rest[n:]
		}
		if !ok || whole != parts {
			t.Fatalf("whole %+v %v, in parts %+v", whole, ok, parts)
		}
		if !whole.header && (whole.left < 0 || whole.left > maxPacket) {
			t.Fatalf("left %d", whole.left)
		}
	})
}

func TestFraming(t *testing.T) {
	for name, c := range map[string]struct {
		raw []byte
		ok  bool
	}{
		"packets in a row pass":              {[]byte{0x20, 2, 0, 0, 0x40, 2, 0, 1, 0xd0, 0, 0x90, 3, 0, 2, 1}, true},
		"the largest packet passes":          {[]byte{0x30, 0x80, 0x80, 0x10}, true},
		"one byte more is refused":           {[]byte{0x30, 0x81, 0x80, 0x10}, false},
		"a SUBACK with two codes is refused": {[]byte{0x90, 4, 0, 1, 1, 1}, false},
		"a SUBACK with no code is refused":   {[]byte{0x90, 2, 0, 1}, false},
		"five length bytes are refused":      {[]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, false},
	} {
		t.Run(name, func(t *testing.T) {
			var f framing
			if got := f.follow(c.raw); got != c.ok {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestFlat(t *testing.T) {
	f := New(Config{Session: 9, Epoch: "e9", Stamp: func() flex.Stamp { return flex.Stamp{Clock: flex.ClockUntrusted} }})
	base := flex.Message{ID: "i", Stream: flex.StreamAck, Seq: 3, At: time.Date(2026, 1, 2, 4, 4, 5, 6, time.FixedZone("", 3600)), Schema: "ack/1"}
	const tail = `,"schema":"ack/1","seq":3,"session":9,"stream":"ack"}`
	for name, c := range map[string]struct{ body, want string }{
		"the body's fields are beside the envelope": {`{"a":{"b":1}}`, `{"a":{"b":1},"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i"` + tail},
		"the envelope wins over the body":           {`{"id":1,"seq":2,"session":"x"}`, `{"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i"` + tail},
		"a large number keeps its digits":           {`{"a":12345678901234567890}`, `{"a":12345678901234567890,"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i"` + tail},
		"null is an empty body":                     {`null`, `{"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i"` + tail},
		"what is no object goes out as a problem":   {`[1]`, `{"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i","problem":"the stored body is not a JSON object"` + tail},
		"what is damaged goes out as a problem":     {"\xff{", `{"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i","problem":"the stored body is not a JSON object"` + tail},
		"what is too large goes out as a problem":   {`{"a":"` + strings.Repeat("x", maxPayload) + `"}`, `{"at":"2026-01-02T03:04:05.000000006Z","clock":"untrusted","epoch":"e9","id":"i","problem":"the stored body is too large (262152 bytes)"` + tail},
	} {
		t.Run(name, func(t *testing.T) {
			m := base
			m.Body = json.RawMessage(c.body)
			if got := string(f.flat(m)); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestParseBroker(t *testing.T) {
	for raw, want := range map[string]target{
		"mqtts://broker.example:8884": {"broker.example", "broker.example:8884", true},
		"mqtts://broker.example":      {"broker.example", "broker.example:8883", true},
		"mqtt://[::1]":                {"::1", "[::1]:1883", false},
		"tcp://broker.example:1883":   {},
		"broker.example:1883":         {},
		"mqtts://":                    {},
		"":                            {},
	} {
		got, err := parseBroker(raw)
		if want.addr == "" {
			want = target{}
		}
		if (err == nil) != (want != target{}) || err == nil && got != want {
			t.Errorf("%q: %+v, %v", raw, got, err)
		}
	}
}

func TestPauseStaysUnderItsCeiling(t *testing.T) {
	l := defaults()
	for failures, ceiling := range map[int]time.Duration{0: time.Second, 1: 2 * time.Second, 5: 32 * time.Second, 7: 2 * time.Minute, 1 << 30: 2 * time.Minute} {
		low := ceiling
		for range 200 {
			p := l.pause(failures)
			if p <= 0 || p > ceiling {
				t.Fatalf("after %d failures %s, ceiling %s", failures, p, ceiling)
			}
			low = min(low, p)
		}
		if low > ceiling/4 {
			t.Errorf("after %d failures never below %s: no full jitter", failures, low)
		}
	}
}
