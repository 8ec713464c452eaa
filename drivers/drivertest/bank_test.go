package drivertest

import (
	"errors"
	"testing"

	"flexd/drivers/modbus"
)

// The bank is as strict as the strictest device, or the suite proves little.
func TestTheBankIsStrict(t *testing.T) {
	s := Scale{}
	chain := []Model{Common(66, "Maker", "Thing", "SN-1"), DERControls(s), Storage(8000, s)}
	for _, c := range []struct {
		name string
		req  func(b *Bank) modbus.Request
		code byte // of the exception; 0: answered
	}{
		{"the marker is read", func(*Bank) modbus.Request { return modbus.Request{Func: modbus.ReadHolding, Addr: 40000, Count: 4} }, 0},
		{"beyond the map", func(*Bank) modbus.Request { return modbus.Request{Func: modbus.ReadHolding, Addr: 39999, Count: 4} }, modbus.IllegalAddress},
		{"a run of writable points", func(b *Bank) modbus.Request {
			return modbus.Request{Func: modbus.WriteMultiple, Addr: b.Addr(704, 14), Values: make([]uint16, 6)}
		}, 0},
		{"a run across a read-only point", func(b *Bank) modbus.Request {
			return modbus.Request{Func: modbus.WriteMultiple, Addr: b.Addr(704, 14), Values: make([]uint16, 7)}
		}, modbus.IllegalAddress},
		{"a read-only point", func(b *Bank) modbus.Request {
			return modbus.Request{Func: modbus.WriteMultiple, Addr: b.Addr(124, 8), Values: []uint16{1}}
		}, modbus.IllegalAddress},
		{"another function", func(*Bank) modbus.Request {
			return modbus.Request{Func: modbus.ReadInput, Addr: 40000, Count: 1}
		}, modbus.IllegalFunction},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := NewBank(40000, chain...)
			_, err := b.Do(t.Context(), c.req(b))
			var e *modbus.Exception
			if c.code == 0 && err != nil || c.code != 0 && (!errors.As(err, &e) || e.Code != c.code) {
				t.Errorf("got %v, want exception %d", err, c.code)
			}
		})
	}
}

func TestAFaultStrikesTheWriteItWasSetFor(t *testing.T) {
	b := NewBank(40000, Storage(8000, Scale{}))
	write := func(v uint16) error {
		_, err := b.Do(t.Context(), modbus.Request{Func: modbus.WriteMultiple, Addr: b.Addr(124, 5), Values: []uint16{v}})
		return err
	}
	b.Fault(2, LostReply)
	b.Fault(3, LostWrite)
	b.Fault(4, Unsent)
	for i, want := range []struct {
		err error
		now uint16
	}{{nil, 1}, {modbus.ErrUncertain, 2}, {modbus.ErrUncertain, 2}, {modbus.ErrNotSent, 2}, {nil, 5}} {
		if err := write(uint16(i + 1)); !errors.Is(err, want.err) || b.Get(124, 5) != want.now {
			t.Errorf("write %d: %v, holds %d, want %+v", i+1, err, b.Get(124, 5), want)
		}
	}
}
