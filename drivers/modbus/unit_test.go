package modbus

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"
)

// neighbours poll some units until the context ends; they return the longest
// that one of their requests took.
func neighbours(ctx context.Context, t *testing.T, e *Endpoint, units ...byte) time.Duration {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var longest time.Duration
	for _, unit := range units {
		wg.Go(func() {
			for ctx.Err() == nil {
				began := time.Now()
				_, err := e.Do(ctx, readOf(unit))
				end, _ := ctx.Deadline() // the line's deadline may pass a moment before the context notes it
				if err != nil && ctx.Err() == nil && time.Now().Before(end) {
					t.Errorf("neighbour %d: %v", unit, err)
				}
				mu.Lock()
				longest = max(longest, time.Since(began))
				mu.Unlock()
				time.Sleep(100 * time.Millisecond)
			}
		})
	}
	wg.Wait()
	return longest
}

// A gateway with a dead unit: its poll is as eager as the neighbours', and
// still they wait for one timeout in each ever longer round, and no more.
func TestADeadUnitBacksOffAlone(t *testing.T) {
	for _, c := range []struct {
		name  string
		dead  map[byte]bool
		codes map[byte]byte
		each  time.Duration // what one try costs the line
	}{
		{"silence", map[byte]bool{5: true}, nil, time.Second},
		{"exception 10, no path", nil, map[byte]byte{5: GatewayNoPath}, 5 * time.Millisecond},
		{"exception 11, target silent", nil, map[byte]byte{5: GatewayTargetSilent}, 5 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := &device{latency: 5 * time.Millisecond, dead: c.dead, codes: c.codes}
			q := Quirks{Timeout: time.Second, Gap: 10 * time.Millisecond}
			bubble(t, d, q, func(t *testing.T, e *Endpoint) {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				if _, err := e.Do(ctx, readOf(1)); err != nil { // or unit 5 seems to be alone
					t.Fatal(err)
				}
				var poll sync.WaitGroup
				for range 3 { // three callers do not make three timeouts
					poll.Go(func() {
						for ctx.Err() == nil {
							if _, err := e.Do(ctx, readOf(5)); err == nil {
								t.Error("the dead unit answered")
							}
							time.Sleep(50 * time.Millisecond)
						}
					})
				}
				longest := neighbours(ctx, t, e, 1, 2)
				poll.Wait()
				if most := c.each + 100*time.Millisecond; longest > most {
					t.Errorf("a neighbour waited %s, want at most one try, %s", longest, most)
				}
				checkRounds(t, d)
				checkUnitStats(t, e)
			})
			if n := len(d.dials); n != 1 {
				t.Errorf("%d connections, want the one kept: the neighbours answer on it", n)
			}
		})
	}
}

// checkRounds wants the tries at unit 5 to be apart by doubling pauses.
func checkRounds(t *testing.T, d *device) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	var tries []time.Time
	for i, at := range d.seen {
		if d.units[i] == 5 {
			tries = append(tries, at)
		}
	}
	// 0.2 s doubling to 30 s: eight pauses in the first minute, two more after.
	if len(tries) < 7 || len(tries) > 13 {
		t.Errorf("%d tries in two minutes, want some ten", len(tries))
	}
	pause := defaultBackoffMin
	for i := 1; i < len(tries); i++ {
		if got := tries[i].Sub(tries[i-1]); got < pause*3/4 {
			t.Errorf("try %d came %s after the one before, want at least %s", i, got, pause*3/4)
		}
		pause = min(2*pause, defaultBackoffMax*3/4)
	}
}

func checkUnitStats(t *testing.T, e *Endpoint) {
	t.Helper()
	units := e.Stats().Units
	if len(units) != 3 || units[0].Unit != 1 || units[2].Unit != 5 {
		t.Fatalf("units %+v, want 1, 2 and 5", units)
	}
	if u := units[0]; u.Failures != 0 || u.Requests < 100 {
		t.Errorf("the neighbour is counted as %+v", u)
	}
	u := units[2]
	if u.Failures+1 < u.Requests || u.LastError == "" || u.LastErrorAt.IsZero() { // the last may have been cut short
		t.Errorf("the dead one is counted as %+v", u)
	}
}

// failing lets unit 5 fail until its pause is long.
func failing(t *testing.T, e *Endpoint) {
	t.Helper()
	if _, err := e.Do(t.Context(), readOf(1)); err != nil { // a neighbour
		t.Fatal(err)
	}
	for range 200 {
		e.Do(t.Context(), readOf(5))
		units := e.Stats().Units
		if len(units) > 0 && time.Until(units[len(units)-1].RetryAt) > 10*time.Second {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal("unit 5 never backed off for long")
}

func TestInBackOffAUnitIsToldAtOnceAndAStopIsSentAtOnce(t *testing.T) {
	d := &device{latency: 5 * time.Millisecond, codes: map[byte]byte{5: GatewayTargetSilent}}
	bubble(t, d, Quirks{Timeout: time.Second}, func(t *testing.T, e *Endpoint) {
		failing(t, e)
		sent := d.count()
		began := time.Now()
		_, err := e.Do(t.Context(), Request{Unit: 5, Func: WriteMultiple, Values: []uint16{1}})
		if !errors.Is(err, ErrNotSent) || errors.Is(err, ErrUncertain) || time.Since(began) != 0 {
			t.Errorf("after %s: %v, want not sent, at once", time.Since(began), err)
		}
		var exception *Exception
		if errors.As(err, &exception) {
			t.Errorf("%v passes for an answer to this very write", err)
		}
		if d.count() != sent {
			t.Error("it was sent")
		}
		d.mu.Lock()
		d.codes = nil // the unit is back
		d.mu.Unlock()
		if _, err := e.Do(t.Context(), Request{Unit: 5, Func: WriteMultiple, Values: []uint16{1}, Priority: Stop}); err != nil {
			t.Errorf("a stop to a unit in back-off: %v", err)
		}
		if _, err := e.Do(t.Context(), readOf(5)); err != nil {
			t.Errorf("a read after the stop found it alive: %v", err)
		}
	})
}

func TestAUnitThatComesBackIsFoundWithinItsPause(t *testing.T) {
	d := &device{latency: 5 * time.Millisecond, dead: map[byte]bool{5: true}}
	bubble(t, d, Quirks{Timeout: time.Second}, func(t *testing.T, e *Endpoint) {
		failing(t, e)
		d.mu.Lock()
		d.dead = nil
		d.mu.Unlock()
		back := time.Now()
		for {
			if _, err := e.Do(t.Context(), readOf(5)); err == nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if took := time.Since(back); took > defaultBackoffMax+time.Second {
			t.Errorf("it took %s, want at most the longest pause", took)
		}
		if u := e.Stats().Units[1]; !u.RetryAt.IsZero() {
			t.Errorf("still backing off: %+v", u)
		}
	})
}

// Where nobody waits behind it, a silent unit is asked as often as the caller
// likes: one that measures a device asks for what is not answered.
func TestAUnitWithoutNeighboursIsNotHeldBack(t *testing.T) {
	d := &device{latency: time.Millisecond, codes: map[byte]byte{5: GatewayTargetSilent}}
	bubble(t, d, Quirks{Gap: -1}, func(t *testing.T, e *Endpoint) {
		began := time.Now()
		for range 20 {
			if _, err := e.Do(t.Context(), readOf(5)); errors.Is(err, ErrNotSent) {
				t.Fatalf("held back: %v", err)
			}
		}
		if took := time.Since(began); took != 20*time.Millisecond {
			t.Errorf("20 requests took %s", took)
		}
	})
}

// A half-open connection does not hide behind a unit that was dead before.
func TestADeadUnitDoesNotKeepADeadConnection(t *testing.T) {
	d := &device{latency: 5 * time.Millisecond, dead: map[byte]bool{5: true}}
	bubble(t, d, Quirks{Timeout: time.Second}, func(t *testing.T, e *Endpoint) {
		if _, err := e.Do(t.Context(), readOf(1)); err != nil {
			t.Fatal(err)
		}
		for range 20 { // nobody else asks any more
			e.Do(t.Context(), readOf(5))
			time.Sleep(time.Second)
		}
		if len(d.dials) < 2 {
			t.Error("the connection was never renewed")
		}
	})
}

// Units that were silent before say nothing about the connection, however many
// of them are asked in a row.
func TestDeadUnitsInARowDoNotCostTheirNeighbourTheConnection(t *testing.T) {
	d := &device{latency: 5 * time.Millisecond, dead: map[byte]bool{5: true, 6: true}}
	bubble(t, d, Quirks{Timeout: time.Second}, func(t *testing.T, e *Endpoint) {
		ask := func(units ...byte) {
			for _, u := range units {
				e.Do(t.Context(), readOf(u))
				time.Sleep(2 * time.Minute) // past every pause
			}
		}
		ask(1, 5, 1, 6, 1)
		before := len(d.dials)
		ask(5, 6, 1)
		if n := len(d.dials) - before; n != 0 {
			t.Errorf("%d connections more, want the one kept", n)
		}
	})
}

// While a device says that it is busy, its neighbours are served, and what was
// asked of it keeps its order.
func TestABusyUnitHoldsUpNobodyElse(t *testing.T) {
	d := &device{latency: time.Millisecond, codes: map[byte]byte{5: DeviceBusy}}
	bubble(t, d, Quirks{Gap: -1}, func(t *testing.T, e *Endpoint) {
		if _, err := e.Do(t.Context(), readOf(1)); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		busy := make(chan error, 1)
		go func() {
			_, err := e.Do(ctx, Request{Unit: 5, Func: WriteMultiple, Values: []uint16{1}})
			busy <- err
		}()
		time.Sleep(20 * time.Millisecond)
		began := time.Now()
		if _, err := e.Do(t.Context(), readOf(1)); err != nil || time.Since(began) != time.Millisecond {
			t.Errorf("the neighbour waited %s: %v", time.Since(began), err)
		}
		sent := d.count()
		second := make(chan error, 1)
		go func() {
			_, err := e.Do(ctx, Request{Unit: 5, Func: WriteMultiple, Values: []uint16{2}})
			second <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if d.count() != sent {
			t.Error("the later write overtook the one that waits for the busy device")
		}
		<-busy
		<-second
	})
}

// Two units are dead and two are to be stopped, all at once: no stop of a
// living one waits for more than the one request that is on the wire, however
// often the dead ones are tried again.
func TestAStopWaitsForOneTimeoutOfDeadNeighboursAtMost(t *testing.T) {
	const timeout = time.Second
	d := &device{latency: 5 * time.Millisecond, dead: map[byte]bool{5: true, 6: true}}
	bubble(t, d, Quirks{Timeout: timeout, Gap: 20 * time.Millisecond}, func(t *testing.T, e *Endpoint) {
		for _, u := range []byte{1, 2, 5, 6} {
			e.Do(t.Context(), readOf(u))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var over sync.WaitGroup
		stop := func(u byte) Request { r := readOf(u); r.Priority = Stop; return r }
		for _, u := range []byte{5, 6} {
			over.Go(func() {
				for ctx.Err() == nil {
					e.Do(ctx, stop(u))
				}
			})
		}
		time.Sleep(300 * time.Millisecond) // one of them is on the wire
		var stops sync.WaitGroup
		for _, u := range []byte{1, 2} {
			stops.Go(func() {
				began := time.Now()
				for range 4 { // read, write, write, read back
					if _, err := e.Do(t.Context(), stop(u)); err != nil {
						t.Error(err)
					}
					time.Sleep(60 * time.Millisecond) // longer than the gap: only the linger keeps the line
				}
				if took := time.Since(began); took > timeout+500*time.Millisecond {
					t.Errorf("unit %d was stopped after %s", u, took)
				}
			})
		}
		stops.Wait()
		tried := d.count()
		time.Sleep(5 * timeout)
		if d.count() == tried {
			t.Error("the dead ones are not tried any more")
		}
		cancel()
		over.Wait()
	})
}
