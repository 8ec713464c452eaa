package sim

import (
	"fmt"
	"math"
	"time"
)

// Battery describes a storage inverter. Left to itself it covers what the
// house draws beyond the sun, and stores what the sun gives beyond the house.
type Battery struct {
	Options
	// Rated is the AC rating in W.
	Rated float64
	// Charge and Discharge are the battery's own maxima, W; 0: the rating.
	Charge, Discharge float64
	// Capacity is the usable energy, Wh.
	Capacity float64
	// SoC is the state of charge at the start, 0 to 1.
	SoC float64
	// Reserve is the state of charge below which it does not discharge, 0 to 1.
	Reserve float64
	// GridCharge lets it charge from the grid from the start (124.ChaGriSet);
	// without, it never charges with more than the plant's sun.
	GridCharge bool
	// Sun makes it a hybrid: panels behind the same inverter.
	Sun func(time.Time) float64
	// DER selects models 701, 702, 704, 713 instead of 103, 120 to 124.
	DER bool
}

type battery struct {
	cfg     Battery
	soc     float64
	power   float64 // the battery's own, + = discharge
	sun     float64 // what the panels really give
	shining float64 // what they could give
	capping bool    // a cap is obeyed
	forcing bool    // a setpoint or storage limit is obeyed
}

// newBattery lays out the map of a storage inverter.
func newBattery(c Battery) (*battery, *image, error) {
	if c.Charge == 0 {
		c.Charge = c.Rated
	}
	if c.Discharge == 0 {
		c.Discharge = c.Rated
	}
	for _, v := range []float64{c.Rated, c.Charge, c.Discharge, c.Capacity} {
		if !(v > 0) || v > 1e9 {
			return nil, nil, fmt.Errorf("battery of %g W, charge %g W, discharge %g W, %g Wh: want all more than 0",
				c.Rated, c.Charge, c.Discharge, c.Capacity)
		}
	}
	if !(c.SoC >= 0 && c.SoC <= 1 && c.Reserve >= 0 && c.Reserve <= 1) {
		return nil, nil, fmt.Errorf("state of charge %g, reserve %g: want 0 to 1", c.SoC, c.Reserve)
	}
	ids := []int{1, 103, 120, 121, 122, 123, 124}
	if c.DER {
		ids = []int{1, 701, 702, 704, 713}
	}
	im, err := newImage(c.Base, withVendor(ids, c.Vendor), c.ShortCommon)
	if err != nil {
		return nil, nil, err
	}
	identity(im, c.Options, "Cellar 20")
	nameplate(im, c.Options, max(c.Rated, c.Charge, c.Discharge))
	im.set(120, "WRtg", c.Rated)
	im.set(121, "WMax", c.Rated)
	storagePlate(im, c)
	return &battery{cfg: c, soc: c.SoC}, im, nil
}

// storagePlate fills the ratings and idle controls that only storage has.
func storagePlate(im *image, c Battery) {
	most := max(c.Charge, c.Discharge)
	watts := fitSF(most, c.WattSF, math.MaxUint16-1)
	im.setRaw(120, "DERTyp", 82) // PV and storage: the model has no word for storage alone
	im.setRaw(120, "MaxChaRte_SF", watts)
	im.setRaw(120, "MaxDisChaRte_SF", watts)
	im.setRaw(120, "WHRtg_SF", fitSF(c.Capacity, 0, math.MaxUint16-1))
	im.set(120, "MaxChaRte", c.Charge)
	im.set(120, "MaxDisChaRte", c.Discharge)
	im.set(120, "WHRtg", c.Capacity)

	im.setRaw(124, "WChaMax_SF", watts)
	im.setRaw(124, "InOutWRte_SF", int64(c.PctSF))
	im.setRaw(124, "ChaState_SF", -2)
	im.setRaw(124, "MinRsvPct_SF", -1)
	im.setRaw(124, "InBatV_SF", -1)
	im.set(124, "WChaMax", most)
	im.set(124, "WChaGra", 100)
	im.set(124, "WDisChaGra", 100)
	im.set(124, "MinRsvPct", 100*c.Reserve)
	im.set(124, "InBatV", 51.2)
	im.set(124, "OutWRte", 100)
	im.set(124, "InWRte", 100)
	for _, name := range []string{"StorCtl_Mod", "InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms", "ChaGriSet"} {
		im.setRaw(124, name, 0)
	}
	if c.GridCharge {
		im.setRaw(124, "ChaGriSet", 1)
	}

	im.set(702, "WMaxRtg", c.Rated)
	im.set(702, "WMax", c.Rated)
	im.set(702, "WChaRteMaxRtg", c.Charge)
	im.set(702, "WDisChaRteMaxRtg", c.Discharge)
	im.set(702, "WChaRteMax", c.Charge)
	im.set(702, "WDisChaRteMax", c.Discharge)
	im.setRaw(702, "CtrlModes", 3) // MAX_W and FIXED_W
	for _, name := range []string{"WSetEna", "WSet", "WSetRvrt", "WSetPct", "WSetPctRvrt", "WSetEnaRvrt", "WSetRvrtTms", "WSetRvrtRem"} {
		im.setRaw(704, name, 0)
	}
	im.setRaw(704, "WSetMod", 1) // watts

	im.setRaw(713, "WH_SF", fitSF(c.Capacity, 0, math.MaxUint16-1))
	im.setRaw(713, "Pct_SF", -2)
	im.set(713, "WHRtg", c.Capacity)
	im.set(713, "SoH", 99)
	im.setRaw(713, "Sta", 0)
}

func (b *battery) step(d *Device, now time.Time, dt time.Duration) {
	b.shining = 0
	if b.cfg.Sun != nil {
		b.shining = max(0, min(b.cfg.Rated, b.cfg.Sun(now)))
	}
	l := d.limits(b.cfg.Rated, b.cfg.Charge, b.cfg.Discharge)
	target := b.target(d, l)
	b.power = ramp(b.power, target, d.opt.RampRate, dt)
	if b.soc <= 0 { // empty and full act at once, whatever the ramp
		b.power = min(b.power, 0)
	}
	if b.soc >= 1 {
		b.power = max(b.power, 0)
	}
	b.soc = max(0, min(1, b.soc-b.power*dt.Hours()/b.cfg.Capacity))
	b.sun = b.shining
	if l.connected {
		b.sun = max(0, min(b.shining, min(l.cap, b.cfg.Rated)-b.power))
		if l.setOn { // what the battery cannot absorb is curtailed
			b.sun = max(0, min(b.sun, l.set-b.power))
		}
	} else {
		b.sun = 0
	}
	d.throttled = b.sun < b.shining
	d.power = b.power + b.sun
	b.capping, b.forcing = l.capped, l.setOn || l.stored
	d.count(dt)
}

// target is the power the battery heads for.
func (b *battery) target(d *Device, l limits) float64 {
	if !l.connected {
		return 0
	}
	p := max(l.lo, min(l.hi, d.plant.shortfall(d)))
	if l.setOn {
		p = max(l.lo, min(l.hi, l.set-b.shining))
	}
	p = min(p, min(l.cap, b.cfg.Rated)-b.shining)
	p = max(p, -b.cfg.Rated-b.shining, -b.cfg.Charge)
	if grid, ok := d.im.raw(124, "ChaGriSet"); ok && grid == 0 {
		p = max(p, -d.plant.sun())
	}
	if reserve := base(d.im, 124, "MinRsvPct", 100*b.cfg.Reserve) / 100; b.soc <= reserve {
		p = min(p, 0)
	}
	if b.soc >= 1 {
		p = max(p, 0)
	}
	return p
}

func (b *battery) publish(d *Device, now time.Time) {
	d.measurements(now)
	im := d.im
	if b.cfg.Sun != nil {
		im.setRaw(122, "PVConn", 7)
	}
	im.setRaw(122, "StorConn", 7) // connected, available, operating
	im.setRaw(122, "ECPConn", 1)
	im.set(122, "WAval", b.cfg.Rated)
	im.set(103, "DCW", d.power)
	im.setRaw(103, "St", 4)
	im.set(124, "ChaState", 100*b.soc)
	im.setRaw(124, "ChaSt", b.state())
	im.set(713, "SoC", 100*b.soc)
	im.set(713, "WHAvail", b.soc*b.cfg.Capacity)
	d.acting(b.capping, b.forcing)
}

// state is 124.ChaSt.
func (b *battery) state() int64 {
	switch {
	case b.power >= 1:
		return 3 // discharging
	case b.power <= -1:
		return 4 // charging
	case b.soc <= 0:
		return 2 // empty
	case b.soc >= 1:
		return 5 // full
	}
	return 6 // holding
}
