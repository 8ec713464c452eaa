package agent_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

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
