package modbus_test

import (
	"context"
	"testing"
	"time"

	"flexd/drivers/modbus"
	"flexd/drivers/modbus/modbustest"
)

// What may leave a request on its way is counted, and nothing else is: a
// release has to be looked at again only where something may follow it.
func TestBreaksCountWhatMayStillArrive(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault modbustest.Fault
		do    modbus.Request
		want  uint64
	}{
		{"an answered write", modbustest.None, write(40, 1), 0},
		{"a refused write", modbustest.Refuse, write(40, 1), 0},
		{"a write without an answer", modbustest.Swallow, write(40, 1), 1},
		{"a write that a gateway lost", modbustest.GatewaySilent, write(40, 1), 1},
		{"a reset under a write", modbustest.Reset, write(40, 1), 1},
		{"a reset under a read", modbustest.Reset, read(3, 1), 1},
		{"a read without an answer", modbustest.Swallow, read(3, 1), 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := modbustest.New(t)
			seed(s)
			e := start(t, s.Addr(), fast())
			if err := checkUp(t, e); err != nil {
				t.Fatal(err)
			}
			s.Next(c.fault)
			_, err := e.Do(t.Context(), c.do)
			if got := e.Stats().Breaks; got != c.want {
				t.Errorf("%d breaks after %v, want %d", got, err, c.want)
			}
			if at := e.Stats().BrokeAt; at.IsZero() != (c.want == 0) {
				t.Errorf("the line broke at %v", at)
			}
		})
	}
}

func TestACutIsABreak(t *testing.T) {
	s := modbustest.New(t)
	seed(s)
	e := start(t, s.Addr(), fast())
	if err := checkUp(t, e); err != nil {
		t.Fatal(err)
	}
	s.Next(modbustest.HalfOpen)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for len(s.Seen()) < 2 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	if _, err := e.Do(ctx, write(40, 1)); err == nil {
		t.Fatal("the write was answered")
	}
	if got := e.Stats().Breaks; got != 1 {
		t.Errorf("%d breaks after a cut, want 1", got)
	}
}
