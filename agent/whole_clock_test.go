package agent_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// timeServer is a time server whose clock is ahead of the machine's.
func timeServer(t *testing.T, ahead time.Duration) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	must(t, err)
	var wg sync.WaitGroup
	wg.Go(func() {
		for b := make([]byte, 512); ; {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			if n < 48 {
				continue
			}
			out, now := make([]byte, 48), time.Now().Add(ahead)
			out[0], out[1] = 4<<3|4, 1
			copy(out[24:32], b[40:48])
			for _, at := range []int{32, 40} {
				binary.BigEndian.PutUint32(out[at:], uint32(now.Unix()+2208988800))
				binary.BigEndian.PutUint32(out[at+4:], uint32(uint64(now.Nanosecond())<<32/1e9))
			}
			_, _ = conn.WriteTo(out, from)
		}
	})
	t.Cleanup(func() { _ = conn.Close(); wg.Wait() })
	return conn.LocalAddr().String()
}

// Two of three time servers prove the clock an hour behind: no instruction is
// decided by it, and whoever asks is told why, and by whom.
func TestAClockThatIsProvenWrongDecidesNothing(t *testing.T) {
	t.Parallel()
	a, b := timeServer(t, time.Hour), timeServer(t, time.Hour)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true,
		clock: fmt.Sprintf("{ntp: [%q, %q, %q]}", a, timeServer(t, 0), b)})
	s.inside()
	s.await(20*time.Second, "the clock is proven wrong", func() bool {
		st, err := s.status()
		return err == nil && st.Clock == flex.ClockUntrusted
	})
	if st, err := s.status(); err != nil || st.Time.OffsetMS == nil || *st.Time.OffsetMS < 3_590_000 || len(st.Time.By) != 2 || len(st.Time.Servers) != 3 {
		t.Errorf("status tells %+v (%v)", st.Time, err)
	}
	start := second(3 * time.Second)
	s.instruct(ask("wait", "0.00300", "export", start, start.Add(5*time.Second)))
	s.await(20*time.Second, "everybody is told", func() bool {
		out, _ := s.command("status")
		return strings.Contains(out, "clock untrusted: it is 1h0m0s behind 127.0.0.1:") && strings.Contains(out, "clock_offset") &&
			strings.Contains(out, "clock_wrong") && strings.Contains(out, "clock_untrusted") && strings.Contains(out, "not of a majority")
	})
	until(start.Add(time.Second))
	if _, known := s.record("wait"); known {
		t.Error("an instruction was decided by a clock that is wrong")
	}
	if p := s.devices[0].Power(); p != 0 {
		t.Errorf("%v W by a clock that is wrong", p)
	}
}

// Whatever happens to the wall clock while a dispatch runs, with a restart or
// without: the plant is handed back at the instant planned, once.
func TestThePlantSeesNoStepOfTheClock(t *testing.T) {
	for _, tc := range []struct {
		name    string
		by      time.Duration
		synced  bool
		restart bool
	}{
		{"an hour ahead", time.Hour, false, false},
		{"an hour back, and called synchronised", -time.Hour, true, false},
		{"three minutes back with a restart", -3 * time.Minute, true, true},
		{"a day ahead with a restart", 24 * time.Hour, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, NeverReverts: true})}})
			src, bat := clocktest.New(true), s.devices[0]
			s.insideBy(src)
			s.serving()
			start := second(2 * time.Second)
			end := start.Add(9 * time.Second)
			s.instruct(ask("i1", "0.00400", "export", start, end))
			until(start)
			s.delivers(bat, 3*time.Second, 4000)
			if tc.restart {
				s.kill()
			}
			if src.Adjust(tc.by, tc.synced); tc.restart {
				s.insideBy(src)
				s.delivers(bat, 5*time.Second, 4000)
			}
			for time.Now().Before(end.Add(-100 * time.Millisecond)) {
				if !bat.Controlled() {
					t.Fatalf("handed back %v before its end", time.Until(end))
				}
				time.Sleep(20 * time.Millisecond)
			}
			s.await(time.Until(end)+2*time.Second, "released", func() bool { return !bat.Controlled() })
			if late := time.Since(end); late < -20*time.Millisecond || late > time.Second {
				t.Errorf("released %v after the end", late)
			}
			s.await(5*time.Second, "completed", func() bool { r, _ := s.record("i1"); return r.State == flex.Completed })
			seen := len(bat.Writes())
			src.Adjust(-tc.by, true)
			until(end.Add(4 * time.Second))
			if n := len(bat.Writes()); n != seen || bat.Controlled() {
				t.Errorf("%d more writes after its end", n-seen)
			}
			r, _ := s.record("i1")
			if off := (r.Moved - tc.by).Abs(); off > 50*time.Millisecond || r.EchoAt.Before(r.Window.Start) {
				t.Errorf("moved by %v: %+v", r.Moved, r)
			}
		})
	}
}

// A machine without a battery starts in 1970, after a power cut that left the
// device under control: it is handed back and can be held, nothing is decided
// by the clock, everybody is told why, and after the first synchronisation it
// goes on.
func TestAStartIn1970(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, NeverReverts: true})}})
	src, bat := clocktest.New(true), s.devices[0]
	s.insideBy(src) // a good clock once: its time is the floor from then on
	s.serving()
	s.kill()
	s.process()
	s.serving()
	start := second(time.Second)
	s.instruct(ask("before", "0.00400", "export", start, start.Add(7*time.Second)))
	s.delivers(bat, 6*time.Second, 4000)
	s.kill()
	src.Reboot("boot-2")
	src.Adjust(time.Until(time.Unix(30, 0)), false)
	s.insideBy(src)
	s.await(8*time.Second, "what the power cut left is handed back", func() bool { return !bat.Controlled() })
	s.serving()
	next := second(5 * time.Second)
	if d := s.instruct(ask("next", "0.00300", "export", next, next.Add(6*time.Second))); d.Status/100 != 2 {
		t.Errorf("the notification is answered %d", d.Status)
	}
	s.await(10*time.Second, "everybody is told why", func() bool {
		out, _ := s.command("status")
		return strings.Contains(out, "clock untrusted: it shows 1970-01-01") && strings.Contains(out, "clock_wrong") && strings.Contains(out, "clock_untrusted")
	})
	if out, code := s.command("drill", assetID, "1kW", "10s"); code == 0 {
		t.Errorf("a drill was begun in 1970: %s", out)
	}
	if out, code := s.command("hold", "--reason", "working on it"); code != 0 {
		t.Errorf("no hold in 1970: %s", out)
	}
	if out, code := s.command("release"); code != 0 {
		t.Errorf("the hold cannot be lifted in 1970: %s", out)
	}
	if _, known := s.record("next"); known || bat.Controlled() {
		t.Error("something was decided, or controlled, in 1970")
	}
	src.Adjust(time.Since(src.Now()), true)
	until(next)
	s.delivers(bat, 4*time.Second, 3000)
	s.await(10*time.Second, "both are over", func() bool {
		a, _ := s.record("before")
		b, _ := s.record("next")
		return a.State.Final() && b.State == flex.Completed
	})
	if st, err := s.status(); err != nil || st.Clock != flex.ClockSynced {
		t.Errorf("the clock is %s (%v)", st.Clock, err)
	}
}
