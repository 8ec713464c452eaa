package modbus_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// slow is a device with a long timeout, to show what does not wait for it.
func slow() modbus.Quirks {
	q := fast()
	q.Timeout = 10 * time.Second
	return q
}

// pending starts Do and returns where its error will come.
func pending(ctx context.Context, e *modbus.Endpoint, r modbus.Request) <-chan error {
	out := make(chan error, 1)
	go func() {
		_, err := e.Do(ctx, r)
		out <- err
	}()
	return out
}

// hang puts a request on the wire that is not answered.
func hang(t *testing.T, s *modbustest.Server, e *modbus.Endpoint, r modbus.Request) <-chan error {
	t.Helper()
	if _, err := e.Do(t.Context(), read(0, 1)); err != nil {
		t.Fatal(err)
	}
	before := len(s.Seen())
	s.Next(modbustest.HalfOpen)
	out := pending(t.Context(), e, r)
	eventually(t, "the hanging request is on the wire", func() bool { return len(s.Seen()) > before })
	return out
}

func TestStopCutsIntoAHangingRead(t *testing.T) {
	s := modbustest.New(t)
	e := start(t, s.Addr(), slow())
	hanging := hang(t, s, e, read(0, 2))
	began := time.Now()
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if took := time.Since(began); took > time.Second {
		t.Errorf("stop took %s behind a hanging read with a timeout of 10 s", took)
	}
	if err := <-hanging; !errors.Is(err, modbus.ErrOvertaken) {
		t.Errorf("hanging read: %v, want it to say it gave way", err)
	}
	if got := s.Get(30, 1)[0]; got != 9 {
		t.Errorf("the device holds %d, want 9", got)
	}
	eventually(t, "exactly one open connection", func() bool { return s.Open() == 1 })
}

func TestStopLetsAHealthyReadFinish(t *testing.T) {
	s := modbustest.New(t)
	s.Delay = 40 * time.Millisecond // below what a first request is given
	e := start(t, s.Addr(), slow())
	s.Next(modbustest.Late)
	reading := pending(t.Context(), e, read(0, 2))
	eventually(t, "the read is on the wire", func() bool { return len(s.Seen()) > 0 })
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := <-reading; err != nil {
		t.Errorf("read: %v, want it answered", err)
	}
	if n := s.Accepted(); n != 1 {
		t.Errorf("%d connections, want the first one kept", n)
	}
}

func TestAWriteCutByAStopIsUncertain(t *testing.T) {
	s := modbustest.New(t)
	q := slow()
	q.Timeout = 600 * time.Millisecond
	e := start(t, s.Addr(), q)
	hanging := hang(t, s, e, write(30, 1))
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if err := <-hanging; !errors.Is(err, modbus.ErrUncertain) || !errors.Is(err, modbus.ErrOvertaken) {
		t.Errorf("hanging write: %v, want uncertain and overtaken", err)
	}
}

func TestCancelEndsARequestAtOnce(t *testing.T) {
	for _, c := range []struct {
		name string
		r    modbus.Request
		want error
	}{
		{"a read", read(0, 2), context.Canceled},
		{"a write, uncertain", write(0, 2), modbus.ErrUncertain},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := modbustest.New(t)
			e := start(t, s.Addr(), slow())
			s.Next(modbustest.HalfOpen)
			ctx, cancel := context.WithCancel(t.Context())
			out := pending(ctx, e, c.r)
			eventually(t, "it is on the wire", func() bool { return len(s.Seen()) > 0 })
			began := time.Now()
			cancel()
			if err := <-out; !errors.Is(err, c.want) || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want %v", err, c.want)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("took %s", took)
			}
			eventually(t, "the socket is closed", func() bool { return s.Open() == 0 })
			if err := checkUp(t, e); err != nil {
				t.Errorf("after the cancel: %v", err)
			}
		})
	}
}

func checkUp(t *testing.T, e *modbus.Endpoint) error {
	t.Helper()
	_, err := e.Do(t.Context(), read(0, 1))
	return err
}

func TestACallersDeadlineKeepsTheConnection(t *testing.T) {
	s := modbustest.New(t)
	seed(s)
	s.Delay = 60 * time.Millisecond
	e := start(t, s.Addr(), slow())
	s.Next(modbustest.None, modbustest.Late)
	if err := checkRead(t, e, 0, 1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := e.Do(ctx, read(1, 1)); !errors.Is(err, modbus.ErrTimeout) {
		t.Errorf("got %v, want a timeout", err)
	}
	for i := range uint16(4) {
		if err := checkRead(t, e, 2+i, 1+i); err != nil {
			t.Errorf("after the deadline: %v", err)
		}
	}
	if st := e.Stats(); st.Connects != 1 || st.Late != 1 {
		t.Errorf("%d connections and %d late answers, want 1 and 1", st.Connects, st.Late)
	}
}

func TestWritesJumpReadsAndStopsJumpAll(t *testing.T) {
	s := modbustest.New(t)
	s.Delay = 60 * time.Millisecond // below what a first request is given
	e := start(t, s.Addr(), slow())
	s.Next(modbustest.Late)
	block := pending(t.Context(), e, read(1, 1))
	eventually(t, "the first read is on the wire", func() bool { return len(s.Seen()) == 1 })
	other := stop(7, 7)
	other.Unit = 2
	queued := 0
	var waits []<-chan error
	for _, r := range []modbus.Request{read(2, 1), read(3, 1), write(4, 4), write(5, 5), other} {
		waits = append(waits, pending(t.Context(), e, r))
		queued++
		eventually(t, "it is queued", func() bool { return e.Stats().Queued == queued })
	}
	for i, w := range append(waits, block) {
		if err := <-w; err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	var order []uint16
	for _, q := range s.Seen() {
		order = append(order, q.Addr)
	}
	if want := []uint16{1, 7, 4, 5, 2, 3}; !slices.Equal(order, want) {
		t.Errorf("wire order %v, want %v", order, want)
	}
}

func TestNoQueuedWriteLandsAfterAStopOfItsUnit(t *testing.T) {
	s := modbustest.New(t)
	s.Delay = 60 * time.Millisecond // below what a first request is given
	e := start(t, s.Addr(), slow())
	s.Next(modbustest.Late)
	block := pending(t.Context(), e, read(1, 1))
	eventually(t, "the first read is on the wire", func() bool { return len(s.Seen()) == 1 })
	older := pending(t.Context(), e, write(30, 1))
	eventually(t, "the write is queued", func() bool { return e.Stats().Queued == 1 })
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Fatal(err)
	}
	if err := <-older; !errors.Is(err, modbus.ErrNotSent) || !errors.Is(err, modbus.ErrOvertaken) {
		t.Errorf("older write: %v, want not sent, overtaken", err)
	}
	if got := s.Get(30, 1)[0]; got != 9 {
		t.Errorf("the device holds %d, want the stop's 9", got)
	}
	if err := <-block; err != nil {
		t.Error(err)
	}
}

func TestABusyWriteIsNotRepeatedAfterAStop(t *testing.T) {
	s := modbustest.New(t)
	e := start(t, s.Addr(), slow())
	s.Next(modbustest.Busy)
	busy := pending(t.Context(), e, write(30, 1))
	eventually(t, "the write met a busy device", func() bool { return e.Stats().BusyRepeats == 1 })
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Fatal(err)
	}
	var exception *modbus.Exception
	if err := <-busy; !errors.As(err, &exception) || exception.Code != modbus.DeviceBusy {
		t.Errorf("busy write: %v, want the device's exception", err)
	}
	if got := s.Get(30, 1)[0]; got != 9 {
		t.Errorf("the device holds %d, want the stop's 9", got)
	}
}

func TestABusyDeviceIsAskedAgainOnlySoOften(t *testing.T) {
	s := modbustest.New(t)
	q := fast()
	q.BusyRetries = 1
	e := start(t, s.Addr(), q)
	s.Next(modbustest.Acknowledge, modbustest.Acknowledge)
	_, err := e.Do(t.Context(), write(30, 1))
	var exception *modbus.Exception
	if !errors.As(err, &exception) || !errors.Is(err, modbus.ErrUncertain) {
		t.Errorf("got %v, want exception 5 and uncertain: the device says it works on it", err)
	}
	if n := len(s.Seen()); n != 2 {
		t.Errorf("sent %d times, want 2", n)
	}
}

func TestManyCallersGetTheirOwnAnswers(t *testing.T) {
	s := modbustest.New(t)
	seed(s)
	e := start(t, s.Addr(), fast())
	var wg sync.WaitGroup
	for g := range uint16(8) {
		wg.Go(func() {
			for i := range uint16(40) {
				if err := checkRead(t, e, g+i%7, 1+i%5); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if st := e.Stats(); st.Requests != 320 || st.Connects != 1 {
		t.Errorf("%d requests on %d connections, want 320 on 1", st.Requests, st.Connects)
	}
}

func TestAnInvalidRequestIsNotSent(t *testing.T) {
	q := fast()
	q.MaxRead = 50
	e := modbus.NewEndpoint("192.0.2.1:502", q, nil)
	for name, r := range map[string]modbus.Request{
		"broadcast unit":              {Unit: 0, Func: 3, Count: 1},
		"function not supported":      {Unit: 1, Func: 1, Count: 1},
		"nothing to read":             {Unit: 1, Func: 3},
		"more than the device gives":  {Unit: 1, Func: 4, Count: 51},
		"beyond the address space":    {Unit: 1, Func: 3, Addr: 65530, Count: 10},
		"nothing to write":            {Unit: 1, Func: 16},
		"more than one write carries": {Unit: 1, Func: 16, Values: make([]uint16, 124)},
		"two values in a single one":  {Unit: 1, Func: 6, Values: []uint16{1, 2}},
		"write beyond the space":      {Unit: 1, Func: 16, Addr: 65535, Values: []uint16{1, 2}},
		"unknown priority":            {Unit: 1, Func: 3, Count: 1, Priority: 9},
		"negative priority":           {Unit: 1, Func: 3, Count: 1, Priority: -1},
	} {
		_, err := e.Do(t.Context(), r)
		if !errors.Is(err, modbus.ErrInvalid) || !errors.Is(err, modbus.ErrNotSent) {
			t.Errorf("%s: got %v, want invalid, not sent", name, err)
		}
	}
}

func TestTheQueueIsBounded(t *testing.T) {
	e := modbus.NewEndpoint("192.0.2.1:502", fast(), nil)
	ctx, cancel := context.WithCancel(t.Context())
	var waits []<-chan error
	for i := range 512 {
		waits = append(waits, pending(ctx, e, read(uint16(i), 1)))
	}
	eventually(t, "all are queued", func() bool { return e.Stats().Queued == 512 })
	if _, err := e.Do(ctx, read(0, 1)); !errors.Is(err, modbus.ErrQueueFull) {
		t.Errorf("got %v, want the queue to be full", err)
	}
	cancel()
	for _, w := range waits {
		if err := <-w; !errors.Is(err, modbus.ErrNotSent) || !errors.Is(err, context.Canceled) {
			t.Fatal(fmt.Errorf("a cancelled request in the queue: %w", err))
		}
	}
}
