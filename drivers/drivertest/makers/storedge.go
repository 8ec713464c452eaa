package makers

import (
	"math"
	"time"
)

// Storage control of a SolarEdge.
const (
	siteMode         = 0xE000 // bits
	siteKind         = 0xE001
	siteLimit        = 0xE002 // f32 W
	storeMode        = 0xE004 // 0 off, 1 self-consumption, 2 time of use, 3 backup, 4 remote, 5 remote over time of use
	storePolicy      = 0xE005 // 0 never from AC, 1 always, 2 kWh, 3 % of production
	storePolicyLimit = 0xE006 // f32
	storeReserve     = 0xE008 // f32 %
	storeDefault     = 0xE00A
	storeTimeout     = 0xE00B // u32 s
	storeCommand     = 0xE00D
	storeCharge      = 0xE00E // f32 W
	storeDischarge   = 0xE010 // f32 W
)

// edgeBatteries are where the blocks of the batteries begin, and the mirror
// of the first.
var edgeBatteries = []uint16{0xE100, 0xE200, 0xE400}

const edgeMirror = 0xF500

// storage lays out what a StorEdge has more. Sources beside those of
// SolarEdge: evcc PR 11663, 11904 (a command lasts 3600 s by default and
// writing 0xE00D renews it; mode 5; 0xE004 found at 1 and 0xE00A at 0),
// WillCodeForCats/solaredge-modbus-multi issue 219 (limits found at the
// inverter's rating, above the battery's), springfall2008/predbat_addon issue 27
// (the default mode after an hour), evcc and openWB templates (limits bind in
// mode 7, as default mode too), biemond/solaredge.modbus issue 57 (charging
// from the grid needs the policy).
func (e *SolarEdge) storage() {
	if e.o.Batteries == 0 {
		return
	}
	o := e.o
	e.put(edgeUnit, siteMode, 0, 0, 0, 0)
	e.put(edgeUnit, storeMode, or(o.Mode, 1), o.Policy)
	e.float(storePolicyLimit, o.PolicyLimit)
	e.float(storeReserve, o.Reserve)
	e.put(edgeUnit, storeDefault, o.DefaultMode)
	e.remote(or(o.CommandTime, 3600), o.CommandMode, or(o.ChargeCap, e.rating), or(o.DischargeCap, e.rating))
	for i, base := range edgeBatteries {
		switch {
		case i < o.Batteries:
			e.batteryPlate(base)
			if i == 0 {
				e.batteryPlate(edgeMirror)
			}
		case o.Blank:
			e.put(edgeUnit, base, make([]uint16, 154)...)
			for off := uint16(66); off < 134; off += 2 {
				e.put(edgeUnit, base+off, pair(edgeNoFloat, true)...)
			}
		}
	}
}

// remote sets what remote control works with.
func (e *SolarEdge) remote(seconds uint32, mode uint16, charge, discharge float64) {
	e.put(edgeUnit, storeTimeout, pair(seconds, true)...)
	e.put(edgeUnit, storeCommand, mode)
	e.float(storeCharge, charge)
	e.float(storeDischarge, discharge)
}

func (e *SolarEdge) batteryPlate(base uint16) {
	share := 1 / float64(e.o.Batteries)
	e.put(edgeUnit, base, make([]uint16, 154)...)
	e.put(edgeUnit, base, text("LG", 16)...)
	e.put(edgeUnit, base+16, text("RESU10H", 16)...)
	e.put(edgeUnit, base+32, text("1.0", 16)...)
	e.put(edgeUnit, base+48, text("SN0001", 16)...)
	e.put(edgeUnit, base+64, 112)
	for off, v := range map[uint16]float64{
		66: e.capacity * share, 68: e.plant.charge * share, 70: e.plant.discharge * share,
		72: e.plant.charge * share, 74: e.plant.discharge * share,
		108: 25, 110: 27, 112: 400, 126: e.capacity * share, 130: 100,
	} {
		e.float(base+off, v)
	}
}

// commanded starts the time of a remote command.
func (e *SolarEdge) commanded() {
	if e.command = e.deadline(storeTimeout); e.command.IsZero() {
		e.command = e.last.AddDate(100, 0, 0)
	}
}

// store is the power that the batteries are to have, and bounds it.
func (e *SolarEdge) store(now time.Time, b *bounds) float64 {
	if e.o.Batteries == 0 {
		return 0
	}
	e.floor = e.f(storeReserve)
	b.charge = min(b.charge, e.fromAC())
	live := !e.command.IsZero() && now.Before(e.command)
	switch mode := e.reg(storeMode); {
	case mode == 0:
		return 0
	case mode == 3:
		return min(e.surplus(), 0)
	case mode == 4 || mode == 5 && live:
		b.charge, b.discharge = min(b.charge, e.f(storeCharge)), min(b.discharge, e.f(storeDischarge))
		if live {
			return e.mode(e.reg(storeCommand), *b)
		}
		return e.mode(e.reg(storeDefault), *b)
	case mode == 2 || mode == 5:
		if e.o.Program != 0 {
			return e.o.Program
		}
	}
	return e.surplus()
}

// fromAC is the most that the batteries may take as the policy has it.
func (e *SolarEdge) fromAC() float64 {
	limit, open := e.f(storePolicyLimit), false
	switch e.reg(storePolicy) {
	case 1:
		open = true
	case 2:
		open = e.taken < 1000*limit
	case 3:
		open = e.taken < e.made*limit/100
	}
	if open {
		return math.Inf(1)
	}
	return e.sun
}

// mode is the battery power of a charge and discharge mode.
func (e *SolarEdge) mode(mode uint16, b bounds) float64 {
	switch mode {
	case 1: // what the AC side can't take
		return -max(e.sun-e.rating, 0)
	case 2:
		return -min(e.sun, b.charge)
	case 3:
		return -b.charge
	case 4:
		return b.discharge
	case 5:
		return max(e.surplus(), 0)
	case 7:
		return e.surplus()
	}
	return 0
}

// showStorage refreshes the readings of the batteries; DC power is positive
// when charging.
func (e *SolarEdge) showStorage() {
	bases := edgeBatteries[:e.o.Batteries]
	if len(bases) > 0 {
		bases = append([]uint16{edgeMirror}, bases...)
	}
	share := 1 / float64(max(e.o.Batteries, 1))
	status := uint16(7)
	switch {
	case e.battery >= 1:
		status = 4
	case e.battery <= -1:
		status = 3
	}
	for _, base := range bases {
		e.float(base+114, -e.battery*share/400)
		e.float(base+116, -e.battery*share)
		e.float(base+128, e.capacity*share*e.soc/100)
		e.float(base+132, e.soc)
		e.put(edgeUnit, base+134, status, 0)
	}
}
