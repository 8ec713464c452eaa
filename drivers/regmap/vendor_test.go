package regmap_test

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"flexd/drivers/drivertest"
	"flexd/drivers/modbus"
)

// vendor is a device as its maker built it: a table of registers, rules for
// what a write does, a timer, and a battery. It is written from the makers'
// descriptions and not from the maps, so that a mistake there is not repeated.
type vendor struct {
	mu     sync.Mutex
	words  map[uint32]uint16 // unit<<16 | address
	locked map[uint32]bool   // write only
	writes []modbus.Request
	last   time.Time // of the last write to what re-arms the timer
	unit   byte
	faults map[int]drivertest.Fault // by the number of the write to come, from 1

	inputs bool                                           // input registers alone
	reject func(v *vendor, r modbus.Request) byte         // the exception with which a write is refused; 0: none
	only4  []uint16                                       // input registers: function 4 reads them, 3 does not
	single bool                                           // function 6 alone
	allow  func(v *vendor, unit byte, addr uint16) bool   // may be written
	power  func(v *vendor, now time.Time) (float64, bool) // battery, + discharging; false: not under control
	show   func(v *vendor, battery float64)               // puts measurements into registers
	arms   func(unit byte, addr uint16) bool
	clamp  float64
	free   float64 // what the battery does by itself
}

func newVendor(unit byte) *vendor {
	return &vendor{words: map[uint32]uint16{}, locked: map[uint32]bool{}, faults: map[int]drivertest.Fault{}, unit: unit, clamp: 5000, free: 700}
}

func at(unit byte, addr uint16) uint32 { return uint32(unit)<<16 | uint32(addr) }

// put sets registers of the device's own unit.
func (v *vendor) put(addr uint16, words ...uint16) {
	for i, w := range words {
		v.words[at(v.unit, addr+uint16(i))] = w
	}
}

func (v *vendor) get(addr uint16) uint16 { return v.words[at(v.unit, addr)] }

func (v *vendor) put32(addr uint16, x uint32, low bool) {
	a, b := uint16(x>>16), uint16(x)
	if low {
		a, b = b, a
	}
	v.put(addr, a, b)
}

func (v *vendor) putF(addr uint16, x float64, low bool) {
	v.put32(addr, math.Float32bits(float32(x)), low)
}

func (v *vendor) putS(addr uint16, s string, n int) {
	raw := make([]byte, 2*n)
	copy(raw, s)
	for i := range n {
		v.put(addr+uint16(i), uint16(raw[2*i])<<8|uint16(raw[2*i+1]))
	}
}

// battery is the power of the battery now, + discharging.
func (v *vendor) battery() (float64, bool) {
	p, on := v.power(v, time.Now())
	if !on {
		p = v.free
	}
	return math.Max(-v.clamp, math.Min(v.clamp, p)), on
}

// Do answers a request as the device would.
func (v *vendor) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	if ctx.Err() != nil {
		return modbus.Response{}, modbus.ErrNotSent
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	now := time.Now()
	res := modbus.Response{Sent: now, Done: now}
	p, _ := v.battery()
	v.show(v, p)
	switch r.Func {
	case modbus.ReadHolding, modbus.ReadInput:
		if v.inputs && r.Func == modbus.ReadHolding {
			return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
		}
		for i := range r.Count {
			w, ok := v.words[at(r.Unit, r.Addr+i)]
			if input := slices.Contains(v.only4, r.Addr+i); len(v.only4) > 0 && input != (r.Func == modbus.ReadInput) {
				ok = false
			}
			if !ok || v.locked[at(r.Unit, r.Addr+i)] {
				return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
			}
			res.Words = append(res.Words, w)
		}
		return res, nil
	case modbus.WriteMultiple, modbus.WriteSingle:
	default:
		return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalFunction}
	}
	if v.single != (r.Func == modbus.WriteSingle) {
		return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalFunction}
	}
	v.writes = append(v.writes, r)
	fault := v.faults[len(v.writes)]
	delete(v.faults, len(v.writes))
	switch fault {
	case drivertest.Unsent:
		return modbus.Response{}, modbus.ErrNotSent
	case drivertest.LostWrite:
		return modbus.Response{}, modbus.ErrUncertain
	case drivertest.Refused:
		return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalValue}
	case drivertest.NoFault, drivertest.LostReply:
	}
	if v.reject != nil {
		if code := v.reject(v, r); code != 0 {
			return res, &modbus.Exception{Func: r.Func, Code: code}
		}
	}
	for i := range r.Values {
		a := r.Addr + uint16(i)
		if _, ok := v.words[at(r.Unit, a)]; !ok || !v.allow(v, r.Unit, a) {
			return res, &modbus.Exception{Func: r.Func, Code: modbus.IllegalAddress}
		}
	}
	for i, w := range r.Values {
		v.words[at(r.Unit, r.Addr+uint16(i))] = w
		if v.arms(r.Unit, r.Addr+uint16(i)) {
			v.last = now
		}
	}
	if fault == drivertest.LostReply {
		return modbus.Response{}, modbus.ErrUncertain
	}
	return res, nil
}

// among allows a list of addresses on the device's own unit.
func among(list ...uint16) func(*vendor, byte, uint16) bool {
	return func(v *vendor, unit byte, addr uint16) bool {
		for _, a := range list {
			if a == addr && unit == v.unit {
				return true
			}
		}
		return false
	}
}

func only(list ...uint16) func(byte, uint16) bool {
	return func(_ byte, addr uint16) bool {
		for _, a := range list {
			if a == addr {
				return true
			}
		}
		return false
	}
}
