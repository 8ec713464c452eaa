package makers

import (
	"strconv"
	"time"

	"flexd/drivers/modbus"
)

// Sources for the Plenticore: the register table as quoted in openHAB
// "KostalInverterConstants.java" (addresses, types, function codes), openWB
// kostal_plenticore "bat.py", "counter.py", "device.py" (signs, register 5,
// the time-out of 30 s), OpenEMS "KostalManagedEssImpl" (which ranges are read
// in one go), evcc "kostal-plenticore-gen2.yaml" and its threads 11046 (the
// SunSpec chain on the wire), 12165, 15508, 16400 (first generation stays in
// external control), 31487 (model 123 refuses function 16), 31827 (1034 kept
// and ignored), andig/gosunspec issue 13 (both answers on the wire), openWB PR
// 3858 (byte order after a restart).
const (
	kostalUnit  = 71
	kostalBase  = 40000
	kostalOrder = 5
	kostalPower = 1034 // f32 W of the battery, - charges
	kostalMaxIn = 1038 // f32 W, limit of charging
	kostalMaxEx = 1040 // f32 W, limit of discharging
	kostalFloor = 1042 // f32 %
	kostalCeil  = 1044 // f32 %
)

// KostalOptions describe a Plenticore with its battery; zero means the usual.
type KostalOptions struct {
	Rating            float64       // W of AC; 10000
	Charge, Discharge float64       // W the battery allows; 5000 each
	Capacity          float64       // Wh; 10000
	SoC               float64       // %; 50
	Ramp              float64       // W/s; 0: at once
	Sun, House        float64       // W
	MinSoC            float64       // the owner's, in %; 5
	Limit             uint16        // the owner's WMaxLimPct in %; 100
	Timeout           time.Duration // of external battery control; 30 s
	BigEndian         bool          // byte order set to "SunSpec": the high word first
	Internal          bool          // the installer left battery management internal: 1080 reads 0 and writes do nothing
	Ignores           bool          // setpoints are kept and not followed, as firmware 02.20 was seen to
	Stuck             bool          // never returns from external control, as the first generation was seen to
	Reverts           bool          // model 123 honours its reversion time; no source tells
	OrderGlitch       time.Duration // how long the default byte order rules after a restart
	Firmware          string        // "02.06.2080"
	Serial            string
}

// Kostal is a Plenticore G2 on unit 71: its own map and a SunSpec chain.
type Kostal struct {
	rig
	o       KostalOptions
	at      map[uint16]uint16    // model to address
	written map[uint16]time.Time // when a setpoint was last written
	limit   time.Time            // when WMaxLimPct was last written
	swapped time.Time            // until when the default byte order rules
}

// NewKostal is a Plenticore as it stands before anybody controls it.
func NewKostal(now func() time.Time, o KostalOptions) *Kostal {
	o.Timeout = or(o.Timeout, 30*time.Second)
	o.Firmware, o.Serial = or(o.Firmware, "02.06.2080"), or(o.Serial, "90523TD90001R")
	k := &Kostal{o: o, written: map[uint16]time.Time{}}
	k.rig = rig{bank: newBank(now), plant: plant{
		rating: or(o.Rating, 10000), charge: or(o.Charge, 5000), discharge: or(o.Discharge, 5000),
		capacity: or(o.Capacity, 10000), floor: or(o.MinSoC, 5), ceil: 100,
		ramp: o.Ramp, soc: or(o.SoC, 50), sun: o.Sun, house: o.House,
	}}
	k.input = map[Register]uint16{} // function 4 is not served
	for _, run := range [][2]uint16{{2, 57}, {98, 125}, {144, 287}, {320, 327}, {512, 532}, {531, 588}, {768, 831}, {1024, 1082}} {
		for a := run[0]; a <= run[1]; a++ {
			k.put(kostalUnit, a, 0)
		}
	}
	k.plate()
	k.sunspec()
	k.setpoint(kostalFloor, k.floor)
	k.setpoint(kostalCeil, k.ceil)
	k.write, k.wrote = k.judge, k.taken
	k.step = func(now time.Time, dt time.Duration) {
		sliced(now, dt, k.move)
		k.show(now)
	}
	k.advance()
	return k
}

func (k *Kostal) plate() {
	k.put(kostalUnit, 2, 1)
	k.put(kostalUnit, 4, kostalUnit)
	if k.o.BigEndian {
		k.put(kostalUnit, kostalOrder, 1)
	}
	k.put(kostalUnit, 6, text("10534085", 8)...)
	k.put(kostalUnit, 14, text(k.o.Serial, 8)...)
	k.put(kostalUnit, 30, 1)
	k.put(kostalUnit, 32, 3)
	k.put(kostalUnit, 34, 3)
	k.put(kostalUnit, 38, text(k.o.Firmware, 8)...)
	k.put(kostalUnit, 46, text(k.o.Firmware, 8)...)
	k.put(kostalUnit, 517, text("BYD", 8)...)
	k.put(kostalUnit, 531, uint16(k.rating), 0)
	k.put(kostalUnit, 533, 100)
	k.put(kostalUnit, 535, text("KOSTAL", 16)...)
	k.put(kostalUnit, 559, text(k.o.Serial, 16)...)
	k.put(kostalUnit, 588, 4)
	k.put(kostalUnit, 768, text("PLENTICORE plus", 32)...)
	k.put(kostalUnit, 800, text(strconv.Itoa(int(k.rating/1000)), 32)...)
	if !k.o.Internal {
		k.put(kostalUnit, 1080, 2)
	}
	k.put(kostalUnit, 1082, 3) // the maker's own meter, at the connection
}

// lowFirst tells the byte order that rules now.
func (k *Kostal) lowFirst() bool {
	return k.get(kostalUnit, kostalOrder) == 0 || k.last.Before(k.swapped)
}

func (k *Kostal) setpoint(addr uint16, v float64) {
	k.put(kostalUnit, addr, pair(float(v), k.lowFirst())...)
}

// floats are the 32-bit points that are written, always with function 16.
var floats = map[uint16]int{
	1026: 2, 1028: 2, 1030: 2, 1032: 2, kostalPower: 2, 1036: 2,
	kostalMaxIn: 2, kostalMaxEx: 2, kostalFloor: 2, kostalCeil: 2,
}

// judge refuses what the table does not list as writable, and the wrong
// function with the exception that was seen for it: 2.
func (k *Kostal) judge(r modbus.Request) byte {
	if r.Func == modbus.WriteMultiple && whole(r, floats) {
		return 0
	}
	if r.Func == modbus.WriteSingle {
		switch at := k.at[123]; {
		case r.Addr >= at+2 && r.Addr <= at+9:
			return 0
		case r.Addr == 2, r.Addr == 4, r.Addr == kostalOrder, r.Addr == 533, r.Addr == 583, r.Addr == 585:
			return 0
		}
	}
	return modbus.IllegalAddress
}

func (k *Kostal) taken(r modbus.Request) {
	if r.Func == modbus.WriteSingle {
		if r.Addr == k.at[123]+5 {
			k.limit = k.last
		}
		k.move(k.last, 0)
		return
	}
	for i := 0; i < len(r.Values); i += 2 {
		k.written[r.Addr+uint16(i)] = k.last
	}
	k.floor = k.f32(kostalUnit, kostalFloor, k.lowFirst())
	k.ceil = k.f32(kostalUnit, kostalCeil, k.lowFirst())
	k.move(k.last, 0)
}

// ruling tells whether a setpoint still counts: it lapses a time-out after the
// last write, whatever was written.
func (k *Kostal) ruling(addr uint16, now time.Time) bool {
	at, ok := k.written[addr]
	if !ok || k.o.Internal || k.o.Ignores {
		return false
	}
	return k.o.Stuck || now.Before(at.Add(k.o.Timeout))
}

func (k *Kostal) move(now time.Time, dt time.Duration) {
	b, goal := k.open(), k.surplus()
	if k.ruling(kostalMaxIn, now) {
		b.charge = k.f32(kostalUnit, kostalMaxIn, k.lowFirst())
	}
	if k.ruling(kostalMaxEx, now) {
		b.discharge = k.f32(kostalUnit, kostalMaxEx, k.lowFirst())
	}
	if k.ruling(kostalPower, now) {
		goal = k.f32(kostalUnit, kostalPower, k.lowFirst())
	}
	at := k.at[123]
	if rvrt := k.get(kostalUnit, at+7); k.o.Reverts && rvrt > 0 && !k.limit.IsZero() &&
		!now.Before(k.limit.Add(time.Duration(rvrt)*time.Second)) {
		k.put(kostalUnit, at+5, 100)
		k.limit = time.Time{}
	}
	// Throttling outranks battery control; an order of the owner counts likewise.
	if k.get(kostalUnit, at+9) == 1 {
		b.out = k.rating * float64(k.get(kostalUnit, at+5)) / 100
	}
	b.out = min(b.out, k.rating*float64(k.get(kostalUnit, 533))/100)
	if k.get(kostalUnit, at+4) == 0 {
		b.out, b.in = 0, 0
	}
	k.run(goal, b, dt)
}

// Owner copies the settings that outlast a controller: byte order, limits of
// output and of charge. 1034, 1038 and 1040 lapse by themselves.
func (k *Kostal) Owner() map[Register]uint16 {
	at := k.at[123]
	return k.copied(kostalUnit, [2]uint16{2, kostalOrder}, [2]uint16{533, 533},
		[2]uint16{kostalFloor, kostalCeil + 1}, [2]uint16{at + 2, at + 9})
}

// Restart loses what was in memory: setpoints and the limits of charge.
func (k *Kostal) Restart() {
	k.set(func() {
		clear(k.written)
		k.floor, k.ceil = or(k.o.MinSoC, 5), 100
		k.swapped = k.last.Add(k.o.OrderGlitch)
		k.setpoint(kostalFloor, k.floor)
		k.setpoint(kostalCeil, k.ceil)
	})
}
