package modbus

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// These tests run in fake time over net.Pipe, so that gaps and pauses can be
// compared exactly.

// device answers every read with zeros after its latency.
type device struct {
	latency time.Duration
	refuse  bool

	mu    sync.Mutex
	dials []time.Time
	seen  []time.Time
	funcs []byte
	units []byte
	dead  map[byte]bool // units that are asked in vain
	codes map[byte]byte // units for which the gateway answers an exception
	conns sync.WaitGroup
}

func (d *device) dial(context.Context, string, int) (net.Conn, error) {
	d.mu.Lock()
	d.dials = append(d.dials, time.Now())
	refuse := d.refuse
	d.mu.Unlock()
	if refuse {
		return nil, errors.New("refused")
	}
	near, far := net.Pipe()
	d.conns.Go(func() { d.serve(far) })
	return near, nil
}

func (d *device) serve(c net.Conn) {
	defer c.Close()
	for {
		frame := make([]byte, 6)
		if _, err := io.ReadFull(c, frame); err != nil {
			return
		}
		body := make([]byte, binary.BigEndian.Uint16(frame[4:]))
		if _, err := io.ReadFull(c, body); err != nil {
			return
		}
		d.mu.Lock()
		d.seen = append(d.seen, time.Now())
		d.funcs = append(d.funcs, body[1])
		d.units = append(d.units, body[0])
		dead, code, latency := d.dead[body[0]], d.codes[body[0]], d.latency
		d.mu.Unlock()
		if dead {
			continue
		}
		time.Sleep(latency)
		answer := slices.Clone(body[:6])
		switch {
		case code != 0:
			answer = []byte{body[0], body[1] | 0x80, code}
		case body[1] == ReadHolding:
			n := 2 * binary.BigEndian.Uint16(body[4:])
			answer = append([]byte{body[0], body[1], byte(n)}, make([]byte, n)...)
		}
		frame[5] = byte(len(answer))
		if _, err := c.Write(append(frame, answer...)); err != nil {
			return
		}
	}
}

// bubble runs an endpoint on the device inside a synctest bubble.
func bubble(t *testing.T, d *device, q Quirks, body func(t *testing.T, e *Endpoint)) {
	synctest.Test(t, func(t *testing.T) {
		e := NewEndpoint("device:502", q, nil)
		e.dial = d.dial
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- e.Run(ctx) }()
		body(t, e)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		d.conns.Wait()
	})
}

// count is how many requests the device has seen.
func (d *device) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.seen)
}

func readOf(unit byte) Request {
	return Request{Unit: unit, Func: ReadHolding, Count: 2}
}

func TestGapsAndSettlingAreKept(t *testing.T) {
	d := &device{latency: 7 * time.Millisecond}
	q := Quirks{ConnectDelay: time.Second, Gap: 30 * time.Millisecond, UnitGap: 100 * time.Millisecond}
	bubble(t, d, q, func(t *testing.T, e *Endpoint) {
		var last Response
		began := time.Now()
		for i, c := range []struct {
			unit byte
			gap  time.Duration
		}{{1, 0}, {1, 30 * time.Millisecond}, {2, 100 * time.Millisecond}, {2, 30 * time.Millisecond}} {
			resp, err := e.Do(t.Context(), readOf(c.unit))
			if err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				if got := resp.Sent.Sub(began); got != time.Second {
					t.Errorf("first request %s after the connect, want 1s", got)
				}
			} else if got := resp.Sent.Sub(last.Done); got != c.gap {
				t.Errorf("request %d sent %s after the last answer, want %s", i, got, c.gap)
			}
			if got := resp.Done.Sub(resp.Sent); got != d.latency {
				t.Errorf("request %d took %s, want %s", i, got, d.latency)
			}
			last = resp
		}
	})
}

func TestDefaultsAreThoseOfAnOrdinaryInverter(t *testing.T) {
	d := &device{latency: time.Millisecond}
	bubble(t, d, Quirks{}, func(t *testing.T, e *Endpoint) {
		first, err := e.Do(t.Context(), readOf(1))
		if err != nil {
			t.Fatal(err)
		}
		second, err := e.Do(t.Context(), readOf(1))
		if err != nil {
			t.Fatal(err)
		}
		if got := second.Sent.Sub(first.Done); got != 50*time.Millisecond {
			t.Errorf("gap %s, want 50ms", got)
		}
		d.latency = time.Minute
		began := time.Now()
		if _, err := e.Do(t.Context(), readOf(1)); !errors.Is(err, ErrTimeout) {
			t.Errorf("got %v, want a timeout", err)
		}
		if got := time.Since(began); got != 2*time.Second+50*time.Millisecond {
			t.Errorf("timed out after %s, want the gap and 2s", got)
		}
	})
}

func TestQuietKeepsTheLineFreeAtTheInstant(t *testing.T) {
	d := &device{latency: 80 * time.Millisecond}
	q := Quirks{Gap: 20 * time.Millisecond, Timeout: time.Second}
	bubble(t, d, q, func(t *testing.T, e *Endpoint) {
		if _, err := e.Do(t.Context(), readOf(1)); err != nil {
			t.Fatal(err)
		}
		instant := time.Now().Add(time.Second)
		e.Quiet(instant)
		ctx, cancel := context.WithCancel(t.Context())
		var polls sync.WaitGroup
		for range 2 {
			polls.Go(func() {
				for ctx.Err() == nil {
					e.Do(ctx, readOf(1))
				}
			})
		}
		time.Sleep(time.Until(instant))
		resp, err := e.Do(t.Context(), Request{Unit: 1, Func: WriteMultiple, Values: []uint16{1}})
		if err != nil {
			t.Errorf("write on the instant: %v", err)
		}
		if late := resp.Sent.Sub(instant); late != 0 {
			t.Errorf("write sent %s after the instant, want at once", late)
		}
		cancel()
		polls.Wait()
		checkQuietShare(t, d, instant)
	})
}

// checkQuietShare wants reads before the instant, as many as fit, and only
// writes from it on until the write was done.
func checkQuietShare(t *testing.T, d *device, instant time.Time) {
	t.Helper()
	reads := 0
	for i, at := range d.seen {
		if at.Before(instant) && d.funcs[i] == ReadHolding {
			reads++
		}
		if at.Equal(instant) && d.funcs[i] == ReadHolding {
			t.Error("a read was started on the instant")
		}
	}
	if reads < 6 {
		t.Errorf("%d reads in the second before the instant, want the line used while it may be", reads)
	}
}

func TestReadsGoOnAfterAQuietInstantWithoutAWrite(t *testing.T) {
	d := &device{latency: 80 * time.Millisecond}
	bubble(t, d, Quirks{}, func(t *testing.T, e *Endpoint) {
		if _, err := e.Do(t.Context(), readOf(1)); err != nil {
			t.Fatal(err)
		}
		instant := time.Now().Add(100 * time.Millisecond)
		e.Quiet(instant)
		resp, err := e.Do(t.Context(), readOf(1))
		if err != nil {
			t.Fatal(err)
		}
		if got := resp.Sent.Sub(instant); got != quietGrace {
			t.Errorf("read sent %s after the instant, want %s", got, quietGrace)
		}
	})
}

func TestADeadlineInTheQueueIsNotSent(t *testing.T) {
	d := &device{latency: time.Millisecond}
	bubble(t, d, Quirks{ConnectDelay: time.Second}, func(t *testing.T, e *Endpoint) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		began := time.Now()
		_, err := e.Do(ctx, Request{Unit: 1, Func: WriteSingle, Values: []uint16{1}})
		if !errors.Is(err, ErrNotSent) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v, want not sent, deadline exceeded", err)
		}
		if got := time.Since(began); got != 300*time.Millisecond {
			t.Errorf("returned after %s, want 300ms", got)
		}
		if len(d.seen) != 0 {
			t.Error("the device saw a request whose deadline had passed")
		}
	})
}

func TestReconnectPausesDoubleWithJitter(t *testing.T) {
	d := &device{refuse: true}
	q := Quirks{Timeout: time.Hour, BackoffMin: 200 * time.Millisecond, BackoffMax: 30 * time.Second}
	bubble(t, d, q, func(t *testing.T, e *Endpoint) {
		for range 12 {
			if _, err := e.Do(t.Context(), readOf(1)); !errors.Is(err, ErrNotSent) {
				t.Fatalf("got %v, want not sent", err)
			}
		}
	})
	want, jittered := 200*time.Millisecond, false
	for i := 1; i < len(d.dials); i++ {
		pause := d.dials[i].Sub(d.dials[i-1])
		low, high := want*3/4, min(want*5/4, q.BackoffMax)
		if pause < low || pause > high {
			t.Errorf("pause %d was %s, want %s-%s", i, pause, low, high)
		}
		jittered = jittered || pause != want
		want = min(2*want, q.BackoffMax)
	}
	if !jittered {
		t.Error("no pause was jittered")
	}
}
