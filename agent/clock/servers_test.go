package clock

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// ntpd is a real UDP server: it answers each packet with what does gives.
func ntpd(t *testing.T, does func(nonce uint64) [][]byte) (addr string, asked func() int) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 512)
		for {
			k, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			mu.Lock()
			n++
			mu.Unlock()
			if k != packetSize || b[0] != version<<3|modeClient {
				t.Errorf("question % x", b[:k])
				continue
			}
			for _, out := range does(binary.BigEndian.Uint64(b[40:])) {
				_, _ = conn.WriteTo(out, from)
			}
		}
	})
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	return conn.LocalAddr().String(), func() int { mu.Lock(); defer mu.Unlock(); return n }
}

// Kinds of servers.
func right(nonce uint64) [][]byte { return [][]byte{answer(nonce, time.Now())} }
func lying(nonce uint64) [][]byte { return [][]byte{answer(nonce, time.Now().Add(6*time.Hour))} }
func deaf(uint64) [][]byte        { return nil }
func kissing(code string) func(uint64) [][]byte {
	return func(nonce uint64) [][]byte {
		b := answer(nonce, time.Now().Add(6*time.Hour))
		b[1] = 0
		copy(b[12:], code)
		return [][]byte{b}
	}
}

// forging sends what somebody off the path can: he does not know the nonce.
func forging(nonce uint64) [][]byte {
	return [][]byte{answer(nonce+1, time.Now().Add(6*time.Hour)), answer(0, time.Now().Add(6*time.Hour)), {1, 2, 3}, answer(nonce, time.Now())}
}

// told is a Health that a test reads.
type told map[string]string

func (h told) Raise(code, _, text string) { h[code] = text }
func (h told) Clear(code, _ string)       { delete(h, code) }

func TestAMajorityOfTheServersProvesTheOffset(t *testing.T) {
	kinds := func(k ...func(uint64) [][]byte) []func(uint64) [][]byte { return k }
	for _, tc := range []struct {
		name    string
		servers []func(uint64) [][]byte
		behind  time.Duration // of the machine's clock
		synced  bool
		want    flex.ClockTrust
		proven  bool
		raised  string
	}{
		{"one of one", kinds(right), 0, true, flex.ClockSynced, true, ""},
		{"right, but not synchronised: holdover", kinds(right), 0, false, flex.ClockHoldover, true, ""},
		{"one of one proves the clock wrong", kinds(right), time.Hour, true, flex.ClockUntrusted, true, CodeOffset},
		{"ahead is as wrong as behind", kinds(right), -time.Hour, false, flex.ClockUntrusted, true, CodeOffset},
		{"a second is warned of", kinds(right), 1500 * time.Millisecond, true, flex.ClockSynced, true, CodeOffset},
		{"two of three outvote a liar", kinds(right, lying, right), 0, true, flex.ClockSynced, true, ""},
		{"two of three prove the clock wrong", kinds(right, right, deaf), time.Hour, true, flex.ClockUntrusted, true, CodeOffset},
		{"one of two proves nothing", kinds(right, lying), time.Hour, true, flex.ClockSynced, false, ""},
		{"one of three proves nothing", kinds(right, deaf, kissing("RATE")), time.Hour, true, flex.ClockSynced, false, ""},
		{"a kiss is no time", kinds(kissing("DENY")), 0, true, flex.ClockSynced, false, ""},
		{"forged answers are passed over", kinds(forging), 0, true, flex.ClockSynced, true, ""},
		{"a flood of forged answers proves nothing", kinds(func(n uint64) [][]byte {
			return slices.Repeat([][]byte{answer(n+1, time.Now())}, maxAnswers)
		}), time.Hour, true, flex.ClockSynced, false, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			src := clocktest.New(tc.synced)
			src.Step(-tc.behind)
			w := New(src, time.Time{})
			var names []string
			for _, does := range tc.servers {
				addr, _ := ntpd(t, does)
				names = append(names, addr)
			}
			h := told{}
			s := NewServers(names, w, h, slog.New(slog.DiscardHandler))
			s.round(t.Context())
			st := w.State()
			if st.Trust != tc.want || (st.OffsetMS != nil) != tc.proven || st.Why == "" {
				t.Errorf("state %+v; servers %+v", st, s.Status())
			}
			if tc.proven {
				if off := time.Duration(*st.OffsetMS)*time.Millisecond - tc.behind; off.Abs() > 500*time.Millisecond {
					t.Errorf("offset %d ms, want %v", *st.OffsetMS, tc.behind)
				}
			}
			if _, on := h[tc.raised]; len(h) != 0 && !on || tc.raised != "" && !on {
				t.Errorf("raised %v, want %q", h, tc.raised)
			}
		})
	}
}

func TestAKissIsHeeded(t *testing.T) {
	rate, rated := ntpd(t, kissing("RATE"))
	deny, denied := ntpd(t, kissing("DENY"))
	good, asked := ntpd(t, right)
	s := NewServers([]string{rate, deny, good}, New(clocktest.New(true), time.Time{}), told{}, slog.New(slog.DiscardHandler))
	for range 3 {
		s.round(t.Context())
	}
	if rated() != 1 || denied() != 1 || asked() != 3 {
		t.Errorf("asked %d, %d and %d times; want once, once and three times", rated(), denied(), asked())
	}
	if st := s.Status(); !strings.Contains(st[0].Error, "less often") || !strings.Contains(st[1].Error, "DENY") || st[2].Error != "" || st[2].OffsetMS == nil {
		t.Errorf("status %+v", st)
	}
	s.list[0].after = time.Time{}
	s.round(t.Context())
	if rated() != 2 || s.list[0].wait != 2*kissFirst {
		t.Errorf("after the second RATE it waits %v, want %v", s.list[0].wait, 2*kissFirst)
	}
}

func TestServersThatDoNotAgreeAreToldOf(t *testing.T) {
	addr, _ := ntpd(t, kissing("INIT"))
	h := told{}
	s := NewServers([]string{addr}, New(clocktest.New(true), time.Time{}), h, slog.New(slog.DiscardHandler))
	for range quietAfter {
		if _, on := h[CodeServers]; on {
			t.Error("told too early")
		}
		s.round(t.Context())
	}
	if _, on := h[CodeServers]; !on || s.pace != paceDark {
		t.Errorf("raised %v, pace %v", h, s.pace)
	}
}

func TestAgreement(t *testing.T) {
	base := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name   string
		at     []time.Duration
		listed int
		by     string // "" for none
		zero   time.Duration
	}{
		{"none of one", nil, 1, "", 0},
		{"three within a second", []time.Duration{0, 900 * time.Millisecond, 500 * time.Millisecond}, 3, "[a b c]", 500 * time.Millisecond},
		{"a chain is no agreement of all", []time.Duration{0, 900 * time.Millisecond, 1800 * time.Millisecond}, 3, "[a b]", 900 * time.Millisecond},
		{"two of four is no majority", []time.Duration{0, 0, time.Hour, 2 * time.Hour}, 4, "", 0},
		{"three of five", []time.Duration{time.Hour, 0, 0, 2 * time.Hour, 0}, 5, "[b c e]", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var heard []said
			for i, d := range tc.at {
				heard = append(heard, said{name: string(rune('a' + i)), zero: base.Add(d)})
			}
			zero, by, ok := agree(heard, tc.listed)
			if ok != (tc.by != "") || ok && (fmt.Sprint(by) != tc.by || !zero.Equal(base.Add(tc.zero))) {
				t.Errorf("%v %v %v, want %s at %v", zero.Sub(base), by, ok, tc.by, tc.zero)
			}
		})
	}
}

func TestAProofGoesWithTheClockAndEnds(t *testing.T) {
	src := clocktest.New(true)
	w := New(src, time.Time{})
	s := w.read()
	w.prove(s.Line().Add(time.Hour), []string{"a"})
	if _, trust := w.Now(); trust != flex.ClockUntrusted {
		t.Errorf("an hour behind: %s", trust)
	}
	src.Step(time.Hour)
	if _, trust := w.Now(); trust != flex.ClockSynced {
		t.Errorf("put right: %s", trust)
	}
	src.Step(-time.Hour)
	w.proof.at.Since -= proofLife + time.Second
	if _, trust := w.Now(); trust != flex.ClockSynced {
		t.Errorf("an old proof still counts: %s", trust)
	}
	if st := w.State(); st.OffsetMS != nil || !st.At.After(time.Time{}) {
		t.Errorf("state %+v", st)
	}
}

// The pace rises while all is well and falls when there is something to find
// out; silence is asked at most every few minutes.
func TestThePaceOfAsking(t *testing.T) {
	w := New(clocktest.New(true), time.Time{})
	h := told{}
	s := NewServers([]string{"a"}, w, h, slog.New(slog.DiscardHandler))
	says := func(off time.Duration) []said {
		return []said{{name: "a", zero: w.read().Line().Add(off)}}
	}
	for i, tc := range []struct {
		heard []said
		want  time.Duration
		raise bool
	}{
		{says(0), 128 * time.Second, false},
		{says(50 * time.Millisecond), 256 * time.Second, false},
		{says(0), 512 * time.Second, false},
		{says(0), paceLast, false},
		{says(0), paceLast, false},
		{says(time.Second), paceFirst, true},
		{nil, 128 * time.Second, true},
		{nil, paceDark, true},
		{nil, paceDark, true},
		{says(0), 2 * paceDark, false},
	} {
		s.judge(tc.heard, 1)
		if _, on := h[CodeOffset]; s.pace != tc.want || on != tc.raise {
			t.Errorf("round %d: asks every %v, raised %v; want %v, %t", i, s.pace, h, tc.want, tc.raise)
		}
	}
	if most := paceLast + paceLast/jitter; most > 17*time.Minute {
		t.Errorf("it asks as seldom as every %v", most)
	}
}
