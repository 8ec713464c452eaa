package makers

import (
	"context"
	"fmt"
	"maps"
	"math"
	"sync"
	"time"

	"flexd/drivers/modbus"
)

// Device is a simulated device of one maker, safe for concurrent use.
type Device interface {
	// Do answers one request; a refusal is a *modbus.Exception.
	Do(ctx context.Context, r modbus.Request) (modbus.Response, error)
	// Watts are the plant's true powers now.
	Watts() Watts
	// Owner copies what belongs to the owner: every register that a controller
	// may write and must have given back, by unit and address.
	Owner() map[Register]uint16
}

// Register is one 16-bit register of a unit, by wire address.
type Register struct {
	Unit byte
	Addr uint16
}

// Watts are true powers in W, + towards the grid, + when discharging.
type Watts struct {
	AC      float64 // at the terminals of the device
	Battery float64
	PV      float64 // harvested, never negative
	House   float64 // taken by loads, never negative
	Grid    float64 // at the connection, + export
}

// bank keeps registers and hands writes and time to the device that owns it.
type bank struct {
	mu    sync.Mutex
	now   func() time.Time
	last  time.Time
	regs  map[Register]uint16
	input map[Register]uint16 // function 4, where the device keeps a space of its own; nil: the same
	// write judges a whole request before any of it is stored: 0 stores it,
	// else the exception's code.
	write func(r modbus.Request) byte
	// wrote acts on a request that was stored.
	wrote func(r modbus.Request)
	// step moves the plant by the time passed and refreshes what is read; it
	// runs before each request and each look.
	step func(now time.Time, dt time.Duration)
	// hidden registers are refused when read.
	hidden map[Register]bool
	// Log keeps the writes, in order.
	log []modbus.Request
}

func newBank(now func() time.Time) *bank {
	return &bank{now: now, last: now(), regs: map[Register]uint16{}, hidden: map[Register]bool{}}
}

// advance moves the plant to the present. mu is held.
func (b *bank) advance() {
	now := b.now()
	dt := now.Sub(b.last)
	b.last = now
	if b.step != nil {
		b.step(now, dt)
	}
}

// Do answers one request as the device would.
func (b *bank) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if err := ctx.Err(); err != nil {
		return modbus.Response{}, fmt.Errorf("%w: %w", modbus.ErrNotSent, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.advance()
	refuse := func(code byte) (modbus.Response, error) {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: code}
	}
	at := func(i int) Register { return Register{r.Unit, r.Addr + uint16(i)} }
	switch r.Func {
	case modbus.ReadHolding, modbus.ReadInput:
		space := b.regs
		if r.Func == modbus.ReadInput && b.input != nil {
			space = b.input
		}
		words := make([]uint16, r.Count)
		for i := range words {
			v, ok := space[at(i)]
			if !ok || b.hidden[at(i)] {
				return refuse(modbus.IllegalAddress)
			}
			words[i] = v
		}
		return modbus.Response{Words: words, Sent: b.now(), Done: b.now()}, nil
	case modbus.WriteSingle, modbus.WriteMultiple:
		for i := range r.Values {
			if _, ok := b.regs[at(i)]; !ok {
				return refuse(modbus.IllegalAddress)
			}
		}
		if b.write != nil {
			if code := b.write(r); code != 0 {
				return refuse(code)
			}
		}
		for i, v := range r.Values {
			b.regs[at(i)] = v
		}
		b.log = append(b.log, r)
		if b.wrote != nil {
			b.wrote(r)
		}
		return modbus.Response{Sent: b.now(), Done: b.now()}, nil
	}
	return refuse(modbus.IllegalFunction)
}

// Writes copies the writes that were taken, in order.
func (b *bank) Writes() []modbus.Request {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]modbus.Request(nil), b.log...)
}

// Registers copies all registers of function 3.
func (b *bank) Registers() map[Register]uint16 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return maps.Clone(b.regs)
}

// Put sets registers behind the device's back; it may also add registers. A
// rival controller writes through Do, which starts the device's times as well.
func (b *bank) Put(unit byte, addr uint16, words ...uint16) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.put(unit, addr, words...)
}

func (b *bank) put(unit byte, addr uint16, words ...uint16) {
	for i, w := range words {
		b.regs[Register{unit, addr + uint16(i)}] = w
	}
}

func (b *bank) get(unit byte, addr uint16) uint16 { return b.regs[Register{unit, addr}] }

// pair splits a 32-bit value; lowFirst says that the low word comes first.
func pair(v uint32, lowFirst bool) []uint16 {
	if lowFirst {
		return []uint16{uint16(v), uint16(v >> 16)}
	}
	return []uint16{uint16(v >> 16), uint16(v)}
}

func (b *bank) u32(unit byte, addr uint16, lowFirst bool) uint32 {
	x, y := b.get(unit, addr), b.get(unit, addr+1)
	if lowFirst {
		x, y = y, x
	}
	return uint32(x)<<16 | uint32(y)
}

func (b *bank) f32(unit byte, addr uint16, lowFirst bool) float64 {
	return float64(math.Float32frombits(b.u32(unit, addr, lowFirst)))
}

func float(v float64) uint32 { return math.Float32bits(float32(v)) }

// text is a NUL-padded string of n registers.
func text(s string, n int) []uint16 {
	raw := make([]byte, 2*n)
	copy(raw, s)
	out := make([]uint16, n)
	for i := range out {
		out[i] = uint16(raw[2*i])<<8 | uint16(raw[2*i+1])
	}
	return out
}

// towards moves a power towards a goal by at most perSecond W/s; 0 at once.
func towards(have, goal, perSecond float64, dt time.Duration) float64 {
	if perSecond <= 0 {
		return goal
	}
	most := perSecond * dt.Seconds()
	return have + min(max(goal-have, -most), most)
}
