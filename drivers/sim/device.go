package sim

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"
)

// Options are what every simulated device has. The zero value is a
// well-behaved device with a listener of its own.
type Options struct {
	// Server is shared with others behind one address; nil: a listener of its own.
	Server *Server
	// Unit is the Modbus unit id; 0 means 1.
	Unit byte
	// Base is where the map begins.
	Base Base
	// PctSF is the scale factor of percentages, -2 to 0.
	PctSF int
	// WattSF is the scale factor of powers. It is raised where the rating
	// would not fit the register.
	WattSF int
	// Vendor puts models nobody knows between the standard ones.
	Vendor bool
	// ShortCommon makes model 1 one register shorter (L=65), as older devices have it.
	ShortCommon bool
	// Serial is the serial number; empty: made up, another for each device of a plant.
	Serial string

	// NeverReverts ignores every reversion timer, as some devices do.
	NeverReverts bool
	// IgnoresControl stores what is written, reads it back, and does nothing.
	IgnoresControl bool
	// Reversed does the opposite of a setpoint.
	Reversed bool
	// NoForcedRates treats a negative rate of model 124 as zero.
	NoForcedRates bool
	// RearmOnEnable restarts the timers of model 704 only when the enable
	// point itself is written.
	RearmOnEnable bool
	// RampRate is how fast power follows, W/s; 0: at once.
	RampRate float64
}

func (o Options) check() error {
	if o.PctSF < -2 || o.PctSF > 0 {
		return fmt.Errorf("percentage scale factor %d: want -2 to 0", o.PctSF)
	}
	if o.WattSF < -3 || o.WattSF > 3 {
		return fmt.Errorf("power scale factor %d: want -3 to 3", o.WattSF)
	}
	if o.RampRate < 0 || math.IsNaN(o.RampRate) {
		return fmt.Errorf("ramp rate %g W/s: want none or a positive rate", o.RampRate)
	}
	return nil
}

// Write is one write request as it came over the wire.
type Write struct {
	At        time.Time
	Unit      byte
	Func      byte
	Addr      uint16
	Words     []uint16
	Exception byte // 0: accepted
}

// maxLog bounds the log of writes; the oldest go first.
const maxLog = 1 << 16

// physics is what makes one kind of device different from another. All
// methods are called with the plant's lock held.
type physics interface {
	// step moves the device on to now.
	step(d *Device, now time.Time, dt time.Duration)
	// publish renders the state into the registers.
	publish(d *Device, now time.Time)
}

// Device is one simulated device. Its methods may be called at any time from
// any goroutine.
type Device struct {
	plant  *Plant
	server *Server
	unit   byte
	opt    Options

	// Guarded by the plant's lock.
	im        *image
	physics   physics
	power     float64 // AC, + towards the grid
	exported  float64 // Wh
	imported  float64 // Wh
	throttled bool
	timers    map[string]time.Time // reversion deadline by group
	writes    []Write
	dropped   int // writes no longer in the log
	reads     int
	changed   chan struct{} // closed and replaced at each write
}

// Addr is where the device listens, host:port.
func (d *Device) Addr() string { return d.server.Addr() }

// Unit is the Modbus unit id.
func (d *Device) Unit() byte { return d.unit }

// Server is the listener the device sits behind; faults are set there.
func (d *Device) Server() *Server { return d.server }

// Power is the true AC power in W, + towards the grid.
func (d *Device) Power() float64 {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return d.power
}

// Battery is the true power of the battery alone, + when it discharges.
func (d *Device) Battery() float64 {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	if b, ok := d.physics.(*battery); ok {
		return b.power
	}
	return 0
}

// SoC is the true state of charge, 0 to 1; 0 for what stores nothing.
func (d *Device) SoC() float64 {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	if b, ok := d.physics.(*battery); ok {
		return b.soc
	}
	return 0
}

// SetSoC sets the state of charge, 0 to 1.
func (d *Device) SetSoC(soc float64) {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	if b, ok := d.physics.(*battery); ok {
		b.soc = max(0, min(1, soc))
		d.physics.publish(d, d.plant.last)
	}
}

// Controlled tells whether any control stands in the registers: a cap, a
// setpoint, a storage limit, or a disconnection.
func (d *Device) Controlled() bool {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return slices.ContainsFunc(groups, func(g group) bool { return g.inForce(d.im) })
}

// Writes is the log of write requests, oldest first.
func (d *Device) Writes() []Write {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return slices.Clone(d.writes)
}

// Reads counts the read requests answered.
func (d *Device) Reads() int {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return d.reads
}

// AwaitWrite waits for the first write request, counted from the number
// already seen, that satisfies want; nil accepts any.
func (d *Device) AwaitWrite(ctx context.Context, seen int, want func(Write) bool) (Write, error) {
	for {
		d.plant.mu.Lock()
		all, dropped, changed := d.writes, d.dropped, d.changed
		d.plant.mu.Unlock()
		for ; seen < dropped+len(all); seen++ {
			if seen < dropped {
				continue
			}
			if w := all[seen-dropped]; want == nil || want(w) {
				return w, nil
			}
		}
		select {
		case <-ctx.Done():
			return Write{}, ctx.Err()
		case <-changed:
		}
	}
}

// Point tells where on the wire a point stands and how many registers it takes.
func (d *Device) Point(model int, name string) (addr uint16, words int, ok bool) {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	p, ok := d.im.at(model, name)
	if !ok {
		return 0, 0, false
	}
	return uint16(d.im.base + p.index), p.words, true
}

// Value is a point in its unit, scale factor applied; false when the device
// does not have it or does not implement it.
func (d *Device) Value(model int, name string) (float64, bool) {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return d.im.value(model, name)
}

// SetValue changes a point from inside, as its owner's app or another master
// would, whether or not Modbus may write it. It arms no timer.
func (d *Device) SetValue(model int, name string, v float64) bool {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	_, ok := d.im.at(model, name)
	d.im.set(model, name, v)
	return ok
}

// Registers is a copy of the whole map and the wire address of its first word.
func (d *Device) Registers() (addr uint16, words []uint16) {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	return uint16(d.im.base), slices.Clone(d.im.words)
}

// SetRegisters overwrites words from a wire address on, to make a map that no
// honest device would have. Words outside the map are dropped.
func (d *Device) SetRegisters(addr uint16, words ...uint16) {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	for i, w := range words {
		if at := int(addr) + i - d.im.base; at >= 0 && at < len(d.im.words) {
			d.im.words[at] = w
		}
	}
}

// serve executes one request.
func (d *Device) serve(r request, now time.Time) []byte {
	d.plant.mu.Lock()
	defer d.plant.mu.Unlock()
	if !r.write() {
		at := r.addr - d.im.base
		if at < 0 || at+r.count > len(d.im.words) {
			return answer(r, nil, ExceptionAddress)
		}
		d.reads++
		return answer(r, d.im.words[at:at+r.count], 0)
	}
	exception := d.write(r, now)
	d.record(r, now, exception)
	return answer(r, nil, exception)
}

// record adds to the log of writes and wakes those who wait for it.
func (d *Device) record(r request, now time.Time, exception byte) {
	if len(d.writes) >= maxLog {
		d.dropped += maxLog / 2
		d.writes = slices.Clone(d.writes[maxLog/2:])
	}
	d.writes = append(d.writes, Write{now, r.unit, r.fn, uint16(r.addr), r.words, exception})
	close(d.changed)
	d.changed = make(chan struct{})
}

// write stores words if every one of them may be written, no point is cut,
// and the values are legal; otherwise nothing changes.
func (d *Device) write(r request, now time.Time) (exception byte) {
	im, at := d.im, r.addr-d.im.base
	if at < 0 || at+r.count > len(im.words) {
		return ExceptionAddress
	}
	cells := im.cells[at : at+r.count]
	if !cells[0].first || !cells[r.count-1].last {
		return ExceptionAddress
	}
	var touched []ref
	for _, c := range cells {
		if !c.writable {
			return ExceptionAddress
		}
		if c.first {
			touched = append(touched, ref{c.model, im.points[c.point].name})
		}
	}
	before := slices.Clone(im.words[at : at+r.count])
	copy(im.words[at:], r.words)
	for _, t := range touched {
		if !legal(im, t) {
			copy(im.words[at:], before)
			return ExceptionValue
		}
	}
	d.arm(touched, now)
	return 0
}
