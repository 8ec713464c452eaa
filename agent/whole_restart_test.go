package agent_test

import (
	"encoding/binary"
	"io"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// counted stands between flexd and a device, and counts what flexd asks.
type counted struct {
	mu    sync.Mutex
	conns []time.Time
	asked []asked
	deaf  atomic.Bool // nothing is passed on
}

// asked is one request.
type asked struct {
	at    time.Time
	fn    byte
	addr  uint16
	words []uint16 // of a write
}

// front is the address by which flexd reaches the device through it.
func (c *counted) front(t *testing.T, device string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			c.mu.Lock()
			c.conns = append(c.conns, time.Now())
			c.mu.Unlock()
			go c.pass(from, device)
		}
	}()
	return l.Addr().String()
}

func (c *counted) pass(from net.Conn, device string) {
	defer from.Close()
	to, err := net.Dial("tcp", device)
	if err != nil {
		return
	}
	defer to.Close()
	go func() {
		_, _ = io.Copy(from, to)
		_ = from.Close()
	}()
	for head := make([]byte, 7); ; {
		if _, err := io.ReadFull(from, head); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(head[4:])-1)
		if _, err := io.ReadFull(from, body); err != nil {
			return
		}
		a := asked{at: time.Now(), fn: body[0], addr: binary.BigEndian.Uint16(body[1:])}
		if a.fn == 16 {
			for i := 6; i+1 < len(body); i += 2 {
				a.words = append(a.words, binary.BigEndian.Uint16(body[i:]))
			}
		}
		c.mu.Lock()
		c.asked = append(c.asked, a)
		c.mu.Unlock()
		if c.deaf.Load() {
			continue
		}
		if _, err := to.Write(append(slices.Clone(head), body...)); err != nil {
			return
		}
	}
}

// since is what was asked after an instant, up to and with the first write.
func (c *counted) since(at time.Time) (conns, reads int, write *asked) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.conns {
		if t.After(at) && (write == nil || t.Before(write.at)) {
			conns++
		}
	}
	for _, a := range c.asked {
		switch {
		case !a.at.After(at):
		case a.fn == 16 || a.fn == 6:
			return conns, reads, &a
		default:
			reads++
		}
	}
	return conns, reads, nil
}

// A restart just before a start, or in the middle of a window, asks a known
// device for little before it is told: the start is on time wherever the
// device can be known by then.
func TestARestartCloseToAStartKnowsItsDevice(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		device sim.Battery
		before time.Duration // the start; negative: in the window
		reads  int           // at most, before the first write
	}{
		{"1 s before", aBattery(sim.Options{PctSF: -2}), time.Second, 7},
		{"0.7 s before", aBattery(sim.Options{PctSF: -2}), 700 * time.Millisecond, 7},
		{"0.7 s before, 704", der(sim.Options{PctSF: -2}), 700 * time.Millisecond, 9},
		{"in the window", aBattery(sim.Options{PctSF: -2}), -time.Second, 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			wire := &counted{}
			s := newSite(t, siteOptions{batteries: []sim.Battery{c.device}, noBroker: true, front: func(addr string) string { return wire.front(t, addr) }})
			s.process()
			s.serving()
			start := second(2 * time.Second)
			s.instruct(ask("i1", "0.00300", "export", start, start.Add(3*time.Second)))
			until(start.Add(-c.before))
			s.kill()
			s.process()
			s.await(5*time.Second, "the first write", func() bool { _, _, w := wire.since(s.begun); return w != nil })
			conns, reads, w := wire.since(s.begun)
			late := w.at.Sub(start)
			if c.before < 0 {
				late = w.at.Sub(s.begun)
			}
			t.Logf("%d connections and %d reads before the first write, %v after the start of the process, %v late", conns, reads,
				w.at.Sub(s.begun).Round(time.Millisecond), late.Round(time.Millisecond))
			if conns != 1 || reads > c.reads {
				t.Errorf("%d connections and %d reads before the first write, want 1 and at most %d", conns, reads, c.reads)
			}
			if late > 2*time.Second { // on a busy machine; the reads tell what it costs
				t.Errorf("%v late", late)
			}
		})
	}
}

// A device that does not answer after a restart keeps neither the door nor the
// socket closed, nor is another device handed back any later for it.
func TestAnAbsentDeviceClosesNoDoor(t *testing.T) {
	t.Parallel()
	stuck := sim.Options{PctSF: -2, NeverReverts: true}
	wires := map[string]*counted{}
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(stuck), aBattery(stuck)}, noBroker: true, front: func(addr string) string {
		wires[addr] = &counted{}
		return wires[addr].front(t, addr)
	}})
	s.process()
	s.serving()
	start := second(time.Second)
	end := start.Add(2 * time.Second)
	s.instruct(ask("i1", "0.00400", "export", start, end))
	s.await(5*time.Second, "control", func() bool { return s.devices[0].Controlled() && s.devices[1].Controlled() })
	s.kill()
	until(end)
	wires[s.devices[1].Addr()].deaf.Store(true)
	s.process()
	s.await(time.Second, "the socket", func() bool { st, err := s.status(); return err == nil && st.Ready })
	t.Logf("serves %v after the start of the process", time.Since(s.begun).Round(time.Millisecond))
	if _, err := s.market.Instruct(t.Context(), ask("i2", "0.00200", "export", end.Add(time.Minute), end.Add(2*time.Minute))); err != nil {
		t.Errorf("the door: %v", err)
	}
	s.await(2*time.Second, "the device that answers is handed back", func() bool { return !s.devices[0].Controlled() })
	if !s.devices[1].Controlled() {
		t.Error("the other one cannot have been handed back")
	}
	wires[s.devices[1].Addr()].deaf.Store(false)
	s.await(15*time.Second, "the other one is handed back once it answers", func() bool { return !s.devices[1].Controlled() })
}
