package makers

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"flexd/drivers/modbus"
)

// GatewayOptions are the ways of a bad gateway; each is off when zero.
// Sources: goburrow/modbus issue 54 and Apollo3zehn/FluentModbus issue 84 (the
// answer's unit is 0 or 255), pymodbus issue 2762; field reports of reads
// limited to 50 registers with exception 2, 3 or 4, of answers after 2 s, of
// SunSpec maps one register off and of zeros where the end marker belongs.
type GatewayOptions struct {
	Unit        byte   // units 0 and 255 are answered as this one
	MaxRead     uint16 // more registers than this are refused
	MaxReadCode byte   // with this exception; 2
	Only6       bool   // function 16 is refused with exception 1
	Shift       int    // the map lies this many registers higher
	Zeros       bool   // zeros in place of the SunSpec end marker and after it
	Base        uint16 // where the device's SunSpec map begins; 40000
	// Delay is the time from a request to its answer. The answer is stamped so;
	// Wait, if given, passes the time (time.Sleep where time is fake).
	Delay time.Duration
	Wait  func(time.Duration)
	// Patience is the time after which the asker gives up: an answer that takes
	// longer is lost, and what it answers has been done; 0: for ever.
	Patience time.Duration
}

// Gateway stands between the wire and a device and spoils what passes.
type Gateway struct {
	Device
	o GatewayOptions

	mu   sync.Mutex
	ends map[byte]uint16 // by unit; 0: no chain
}

// NewGateway puts a gateway before a device.
func NewGateway(d Device, o GatewayOptions) *Gateway {
	o.MaxReadCode, o.Base = or(o.MaxReadCode, modbus.IllegalAddress), or(o.Base, 40000)
	return &Gateway{Device: d, o: o, ends: map[byte]uint16{}}
}

// Do lets a request through, or not.
func (g *Gateway) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	refuse := func(code byte) (modbus.Response, error) {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: code}
	}
	if g.o.Unit != 0 && (r.Unit == 0 || r.Unit == 255) {
		r.Unit = g.o.Unit
	}
	read := r.Func == modbus.ReadHolding || r.Func == modbus.ReadInput
	switch {
	case read && g.o.MaxRead > 0 && r.Count > g.o.MaxRead:
		return refuse(g.o.MaxReadCode)
	case g.o.Only6 && r.Func == modbus.WriteMultiple:
		return refuse(modbus.IllegalFunction)
	}
	inner := r
	inner.Addr = uint16(int(r.Addr) - g.o.Shift)
	res, err := g.pass(ctx, inner, read)
	if g.o.Wait != nil && g.o.Delay > 0 {
		g.o.Wait(g.o.Delay)
	}
	if g.o.Patience > 0 && g.o.Delay > g.o.Patience {
		if read {
			return modbus.Response{}, modbus.ErrTimeout
		}
		return modbus.Response{}, fmt.Errorf("%w: %w", modbus.ErrUncertain, modbus.ErrTimeout)
	}
	res.Done = res.Done.Add(g.o.Delay)
	return res, err
}

// pass asks the device, and mends its SunSpec end for the worse.
func (g *Gateway) pass(ctx context.Context, r modbus.Request, read bool) (modbus.Response, error) {
	if !read || !g.o.Zeros || r.Addr < g.o.Base {
		return g.Device.Do(ctx, r)
	}
	end, ok := g.end(ctx, r.Unit)
	if !ok || int(r.Addr)+int(r.Count) <= int(end) {
		return g.Device.Do(ctx, r)
	}
	words := make([]uint16, r.Count)
	before := modbus.Request{Unit: r.Unit, Func: r.Func, Addr: r.Addr, Count: uint16(max(int(end)-int(r.Addr), 0))}
	if before.Count == 0 { // the device is asked all the same, for the time of it
		before.Addr, before.Count = g.o.Base, 1
	}
	res, err := g.Device.Do(ctx, before)
	if err != nil {
		return res, err
	}
	if r.Addr < end {
		copy(words, res.Words)
	}
	res.Words = words
	return res, nil
}

// end is the address of the end marker in a unit's chain.
func (g *Gateway) end(ctx context.Context, unit byte) (uint16, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if at, ok := g.ends[unit]; ok {
		return at, at != 0
	}
	for at := g.o.Base + 2; ; {
		res, err := g.Device.Do(ctx, modbus.Request{Unit: unit, Func: modbus.ReadHolding, Addr: at, Count: 2})
		var exception *modbus.Exception
		if errors.As(err, &exception) {
			g.ends[unit] = 0
			return 0, false
		}
		if err != nil {
			return 0, false
		}
		if res.Words[0] == 0xFFFF {
			g.ends[unit] = at
			return at, true
		}
		at += 2 + res.Words[1]
	}
}
