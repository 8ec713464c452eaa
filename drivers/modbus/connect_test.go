package modbus_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

func TestAnOutageEndsByItself(t *testing.T) {
	s := modbustest.New(t)
	seed(s)
	e := start(t, s.Addr(), fast())
	if err := checkRead(t, e, 0, 2); err != nil {
		t.Fatal(err)
	}
	s.Stop()
	for range 3 {
		_, err := e.Do(t.Context(), write(40, 1))
		if !errors.Is(err, modbus.ErrNotSent) || errors.Is(err, modbus.ErrUncertain) {
			t.Errorf("write to a closed port: %v, want not sent", err)
		}
	}
	s.Start(t)
	eventually(t, "a read succeeds again", func() bool { return checkRead(t, e, 3, 3) == nil })
	if n := s.Open(); n != 1 {
		t.Errorf("%d open connections, want 1", n)
	}
}

func TestALongBackOffFailsFastAndAStopDialsAtOnce(t *testing.T) {
	s := modbustest.New(t)
	q := fast()
	q.BackoffMin, q.BackoffMax = time.Hour, time.Hour
	e := start(t, s.Addr(), q)
	s.Stop()
	if err := checkUp(t, e); !errors.Is(err, modbus.ErrNotSent) {
		t.Fatalf("got %v, want not sent", err)
	}
	s.Start(t)
	began := time.Now()
	if err := checkUp(t, e); !errors.Is(err, modbus.ErrNotSent) {
		t.Errorf("during back-off: %v, want not sent", err)
	}
	if took := time.Since(began); took > 100*time.Millisecond {
		t.Errorf("failing took %s, want at once", took)
	}
	if n := s.Accepted(); n != 0 {
		t.Errorf("%d connections during back-off, want none", n)
	}
	if _, err := e.Do(t.Context(), stop(30, 9)); err != nil {
		t.Errorf("stop during back-off: %v", err)
	}
	if err := checkUp(t, e); err != nil {
		t.Errorf("after the stop connected: %v", err)
	}
}

func TestAPeerThatClosesAtOnceIsNotDialledWithoutPause(t *testing.T) {
	s := modbustest.New(t)
	q := fast()
	q.BackoffMin, q.BackoffMax = 40*time.Millisecond, 40*time.Millisecond
	e := start(t, s.Addr(), q)
	for range 100 {
		s.Next(modbustest.CloseBefore)
	}
	limit := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(limit) {
		if err := checkUp(t, e); err == nil {
			t.Fatal("a read succeeded")
		}
	}
	if n := s.Accepted(); n > 12 {
		t.Errorf("%d connections in 0.3 s with a pause of at least 30 ms", n)
	}
}

func TestAnIdleConnectionIsClosed(t *testing.T) {
	s := modbustest.New(t)
	q := fast()
	q.IdleClose = 20 * time.Millisecond
	e := start(t, s.Addr(), q)
	if err := checkUp(t, e); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the socket is closed", func() bool { return s.Open() == 0 && !e.Stats().Connected })
	if err := checkUp(t, e); err != nil {
		t.Errorf("after idling: %v", err)
	}
}

func TestDoWaitsForRunAndEndsWithIt(t *testing.T) {
	s := modbustest.New(t)
	e := modbus.NewEndpoint(s.Addr(), slow(), nil)
	early := pending(t.Context(), e, read(0, 1))
	eventually(t, "it is queued", func() bool { return e.Stats().Queued == 1 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	if err := <-early; err != nil {
		t.Errorf("request before Run: %v", err)
	}
	s.Next(modbustest.HalfOpen)
	flying := pending(t.Context(), e, write(0, 1))
	eventually(t, "the write is on the wire", func() bool { return len(s.Seen()) == 2 })
	waiting := pending(t.Context(), e, write(1, 1))
	eventually(t, "another write waits", func() bool { return e.Stats().Queued == 1 })
	cancel()
	if err := <-done; err != nil {
		t.Errorf("Run: %v", err)
	}
	if err := <-flying; !errors.Is(err, modbus.ErrUncertain) || !errors.Is(err, modbus.ErrClosed) {
		t.Errorf("write on the wire: %v, want uncertain, closed", err)
	}
	if err := <-waiting; !errors.Is(err, modbus.ErrNotSent) || !errors.Is(err, modbus.ErrClosed) {
		t.Errorf("waiting write: %v, want not sent, closed", err)
	}
	if err := checkUp(t, e); !errors.Is(err, modbus.ErrClosed) {
		t.Errorf("after the end: %v, want closed", err)
	}
	if err := e.Run(t.Context()); err == nil {
		t.Error("a second Run was accepted")
	}
	eventually(t, "no connection is left", func() bool { return s.Open() == 0 })
}

func TestTwoUnitsShareOneConnectionAndOneCounter(t *testing.T) {
	s := modbustest.New(t)
	e := start(t, s.Addr(), fast())
	for i := range 6 {
		r := read(0, 1)
		r.Unit = byte(1 + i%2)
		if _, err := e.Do(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	seen := s.Seen()
	for i := 1; i < len(seen); i++ {
		if seen[i].Txid != seen[i-1].Txid+1 || seen[i].Conn != 1 {
			t.Errorf("request %d: transaction %d after %d on connection %d",
				i, seen[i].Txid, seen[i-1].Txid, seen[i].Conn)
		}
	}
}
