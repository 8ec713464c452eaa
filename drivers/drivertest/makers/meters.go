package makers

import (
	"context"
	"math"
	"time"

	"flexd/drivers/modbus"
)

// MeterOptions describe a meter at the connection; zero means the usual.
type MeterOptions struct {
	Unit     byte    // 1
	Grid     float64 // W, + export
	OnePhase bool
	Virgin   bool // EM24: left in application 0 ('A') instead of 7 ('H')
	Locked   bool // EM24: the selector is at 'Lock': settings are not accepted
	Serial   string
}

// Meter is a meter at the connection.
type Meter struct {
	*bank
	o          MeterOptions
	grid       float64
	drawn, fed float64 // Wh
}

func newMeter(now func() time.Time, o MeterOptions) *Meter {
	o.Unit = or(o.Unit, 1)
	m := &Meter{bank: newBank(now), o: o, grid: o.Grid}
	m.write = func(modbus.Request) byte { return modbus.IllegalAddress }
	return m
}

func (m *Meter) count(dt time.Duration) {
	m.drawn += max(-m.grid, 0) * dt.Hours()
	m.fed += max(m.grid, 0) * dt.Hours()
}

// phase is the power drawn by a phase, 0 to 2, in W.
func (m *Meter) phase(i int) float64 {
	switch {
	case !m.o.OnePhase:
		return -m.grid / 3
	case i == 0:
		return -m.grid
	}
	return 0
}

// Watts are the powers at the connection.
func (m *Meter) Watts() Watts {
	m.mu.Lock()
	defer m.mu.Unlock()
	return Watts{Grid: m.grid}
}

// SetGrid sets the power at the connection in W, + export.
func (m *Meter) SetGrid(w float64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.advance()
	m.grid = w
	m.advance()
}

// EM24 is a Carlo Gavazzi EM24 with Ethernet. Sources: victronenergy/
// dbus-modbus-client "carlo_gavazzi.py" (registers, low word first, models,
// the application that must be 7 and may not be taken, the selector), openWB
// carlo_gavazzi "counter.py" (function 4), volkszaehler/mbmd issue 297 (in
// another application power is never negative).
type EM24 struct{ *Meter }

const em24Application = 0xA000

// NewEM24 is an EM24 with its counters at 0.
func NewEM24(now func() time.Time, o MeterOptions) *EM24 {
	application := uint16(7)
	if o.Virgin {
		application = 0
	}
	o.Serial = or(o.Serial, "KU1234567890A")
	e := &EM24{newMeter(now, o)}
	u := e.o.Unit
	e.put(u, 0, make([]uint16, 0x60)...)
	e.put(u, 0x0302, 0x1000, 0, 0x1083)
	phases := uint16(0)
	if o.OnePhase {
		phases = 3
	}
	e.put(u, 0x1002, phases)
	e.put(u, 0x5000, text(o.Serial, 7)...)
	e.put(u, em24Application, application)
	e.put(u, 0xA100, 0)
	if o.Locked {
		e.put(u, 0xA100, 3)
	}
	e.write = func(r modbus.Request) byte {
		for i := range r.Values {
			if a := r.Addr + uint16(i); a != em24Application && a != 0x1002 {
				return modbus.IllegalAddress
			}
		}
		if r.Addr == em24Application && r.Values[0] > 7 {
			return modbus.IllegalValue
		}
		return 0
	}
	e.wrote = func(modbus.Request) {
		if o.Locked { // taken, and not accepted
			e.put(u, em24Application, application)
		}
		e.show()
	}
	e.step = func(_ time.Time, dt time.Duration) {
		e.count(dt)
		e.show()
	}
	e.advance()
	return e
}

// show refreshes what is read: tenths of V and W, mA, tenths of kWh; drawing
// is positive. In another application than 'H' the direction is lost.
func (e *EM24) show() {
	u := e.o.Unit
	s := func(addr uint16, v float64) { e.put(u, addr, pair(s32(v), true)...) }
	directed := e.get(u, em24Application) == 7
	signed := func(v float64) float64 {
		if directed {
			return v
		}
		return math.Abs(v)
	}
	for i := range 3 {
		a, w := 2*uint16(i), e.phase(i)
		if e.o.OnePhase && i > 0 {
			continue
		}
		s(a, 2300)
		s(0x0C+a, w/230*1000)
		s(0x12+a, signed(w)*10)
		s(0x40+a, e.drawn/1000/3*10)
	}
	s(0x28, signed(-e.grid)*10)
	s(0x34, e.drawn/100)
	s(0x4E, 0)
	if directed {
		s(0x4E, e.fed/100)
	}
	e.put(u, 0x0B, 1648)
	e.put(u, 0x33, 500)
}

// Owner copies the application and the wiring.
func (e *EM24) Owner() map[Register]uint16 {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[Register]uint16{}
	for _, a := range []uint16{em24Application, 0x1002} {
		out[Register{e.o.Unit, a}] = e.get(e.o.Unit, a)
	}
	return out
}

// SDM630 is an Eastron SDM630. Sources: the register inventories of
// ilseh/Oppleo "SDM360v2.py" and spjakob/ha-modbus_devices (float32, high word
// first, function 4 for what is measured), and the maker's rule, common to the
// SDM family, that a request begins at an even register, has an even count and
// at most 40 values.
type SDM630 struct{ *Meter }

// NewSDM630 is an SDM630 with its counters at 0.
func NewSDM630(now func() time.Time, o MeterOptions) *SDM630 {
	d := &SDM630{newMeter(now, o)}
	u := d.o.Unit
	d.input = map[Register]uint16{}
	for a := range uint16(0x180) {
		d.input[Register{u, a}] = 0
	}
	d.put(u, 0, make([]uint16, 60)...)
	d.put(u, 20, pair(float(float64(u)), false)...)
	d.put(u, 42, 0x0012, 0, 0x3456, 0)
	d.put(u, 0xFC00, 0x0012, 0x3456, 0x0070)
	d.step = func(_ time.Time, dt time.Duration) {
		d.count(dt)
		d.show()
	}
	d.advance()
	return d
}

// Do refuses what is not of whole values: odd, or too many.
func (d *SDM630) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if r.Func == modbus.ReadInput && (r.Addr%2 != 0 || r.Count%2 != 0 || r.Count > 80) {
		return modbus.Response{}, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
	}
	return d.bank.Do(ctx, r)
}

func (d *SDM630) show() {
	f := func(addr uint16, v float64) {
		for i, w := range pair(float(v), false) {
			d.input[Register{d.o.Unit, addr + uint16(i)}] = w
		}
	}
	for i := range 3 {
		a, w := 2*uint16(i), d.phase(i)
		if d.o.OnePhase && i > 0 {
			continue
		}
		f(a, 230)
		f(6+a, math.Abs(w)/230)
		f(12+a, w)
		f(18+a, math.Abs(w))
		f(30+a, 1)
	}
	f(42, 230)
	f(48, math.Abs(d.grid)/230)
	f(52, -d.grid)
	f(56, math.Abs(d.grid))
	f(70, 50)
	f(72, d.drawn/1000)
	f(74, d.fed/1000)
	f(342, (d.drawn+d.fed)/1000)
}

// Owner is empty: a meter's settings are nobody's to change.
func (d *SDM630) Owner() map[Register]uint16 { return map[Register]uint16{} }
