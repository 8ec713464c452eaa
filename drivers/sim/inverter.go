package sim

import (
	"fmt"
	"math"
	"time"
)

// PV describes an inverter with panels.
type PV struct {
	Options
	// Rated is the AC rating in W.
	Rated float64
	// Sun is what the panels could give, W; nil: 40 % of the rating, always.
	Sun func(time.Time) float64
	// DER selects models 701, 702, 704 instead of 103, 120 to 123.
	DER bool
}

type inverter struct {
	rated float64
	sun   func(time.Time) float64
	avail float64
	// capped: a cap is in force and obeyed, whether or not it bites.
	capped bool
}

// newInverter lays out the map of a PV inverter.
func newInverter(c PV) (*inverter, *image, error) {
	if !(c.Rated > 0) || c.Rated > 1e7 {
		return nil, nil, fmt.Errorf("PV rating %g W: want more than 0 and at most 10 MW", c.Rated)
	}
	ids := []int{1, 103, 120, 121, 122, 123}
	if c.DER {
		ids = []int{1, 701, 702, 704}
	}
	im, err := newImage(c.Base, withVendor(ids, c.Vendor), c.ShortCommon)
	if err != nil {
		return nil, nil, err
	}
	identity(im, c.Options, "Sunny Lane 6")
	nameplate(im, c.Options, c.Rated)
	im.setRaw(120, "DERTyp", 4) // PV
	im.setRaw(702, "CtrlModes", 1)
	if c.Sun == nil {
		c.Sun = func(time.Time) float64 { return 0.4 * c.Rated }
	}
	return &inverter{rated: c.Rated, sun: c.Sun}, im, nil
}

func (p *inverter) step(d *Device, now time.Time, dt time.Duration) {
	p.avail = max(0, min(p.rated, p.sun(now)))
	l := d.limits(p.rated, 0, 0)
	target := min(p.avail, l.cap)
	if !l.connected {
		target = 0
	}
	p.capped = l.capped
	d.throttled = target < p.avail
	// Clouds act at once; only the way back up and the control are ramped.
	d.power = min(p.avail, ramp(d.power, target, d.opt.RampRate, dt))
	d.count(dt)
}

func (p *inverter) publish(d *Device, now time.Time) {
	d.measurements(now)
	im := d.im
	im.setRaw(122, "PVConn", 7) // connected, available, operating
	im.setRaw(122, "ECPConn", 1)
	im.set(122, "WAval", p.avail)
	im.set(103, "DCW", d.power/0.97)
	state := int64(4) // MPPT
	switch {
	case d.throttled:
		state = 5
	case p.avail == 0:
		state = 2 // sleeping
	}
	im.setRaw(103, "St", state)
	d.acting(p.capped, false)
}

// ramp moves from one power towards another, at most rate W/s; 0: at once.
func ramp(from, to, rate float64, dt time.Duration) float64 {
	if rate == 0 {
		return to
	}
	most := rate * dt.Seconds()
	return from + max(-most, min(most, to-from))
}

// count integrates energy.
func (d *Device) count(dt time.Duration) {
	wh := d.power * dt.Hours()
	d.exported += max(0, wh)
	d.imported += max(0, -wh)
}

// withVendor puts models that no reader knows after the first and the last.
func withVendor(ids []int, on bool) []int {
	if !on {
		return ids
	}
	out := append([]int{ids[0], 64900}, ids[1:len(ids)-1]...)
	return append(out, 64900, ids[len(ids)-1], 64900)
}

// identity fills model 1.
func identity(im *image, o Options, product string) {
	im.text(1, "Mn", "Plant That Is Not There")
	im.text(1, "Md", product)
	im.text(1, "Vr", "1.0")
	im.text(1, "SN", o.Serial)
	im.setRaw(1, "DA", int64(o.Unit))
}

// nameplate fills ratings, settings and idle controls of whatever models are there.
func nameplate(im *image, o Options, rated float64) {
	signed := fitSF(rated, o.WattSF, math.MaxInt16)
	for _, m := range []int{103, 701} {
		im.setRaw(m, "W_SF", signed)
		im.setRaw(m, "VA_SF", signed)
		im.setRaw(m, "V_SF", -1)
		im.setRaw(m, "Hz_SF", -2)
		im.setRaw(m, "A_SF", fitSF(rated/230, -2, math.MaxInt16))
		im.setRaw(m, "Tmp_SF", -1)
	}
	im.setRaw(103, "DCW_SF", fitSF(rated*1.1, o.WattSF, math.MaxInt16))
	unsigned := fitSF(rated, o.WattSF, math.MaxUint16-1)
	im.setRaw(120, "WRtg_SF", unsigned)
	im.setRaw(121, "WMax_SF", unsigned)
	im.setRaw(122, "WAval_SF", unsigned)
	im.setRaw(702, "W_SF", unsigned)
	im.set(120, "WRtg", rated)
	im.set(121, "WMax", rated)
	im.set(702, "WMaxRtg", rated)
	im.set(702, "WMax", rated)

	im.setRaw(123, "WMaxLimPct_SF", int64(o.PctSF))
	im.setRaw(123, "Conn", 1)
	for _, name := range []string{"Conn_WinTms", "Conn_RvrtTms", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms",
		"WMaxLimPct_RmpTms", "WMaxLim_Ena"} {
		im.setRaw(123, name, 0)
	}
	im.set(123, "WMaxLimPct", 100)

	im.setRaw(704, "WMaxLimPct_SF", int64(o.PctSF))
	im.setRaw(704, "WSetPct_SF", int64(o.PctSF))
	im.setRaw(704, "WSet_SF", int64(o.WattSF))
	for _, name := range []string{"WMaxLimPctEna", "WMaxLimPctEnaRvrt", "WMaxLimPctRvrtTms", "WMaxLimPctRvrtRem"} {
		im.setRaw(704, name, 0)
	}
	im.set(704, "WMaxLimPct", 100)
	im.set(704, "WMaxLimPctRvrt", 100)
	im.scaleFactors()
}

// fitSF is the scale factor wanted, raised until the greatest value fits.
func fitSF(greatest float64, want int, limit float64) int64 {
	for greatest/math.Pow10(want) > limit {
		want++
	}
	return int64(want)
}

// epoch2000 is where 122.Tms starts to count.
var epoch2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// measurements renders AC power and energy into models 103 and 701.
func (d *Device) measurements(now time.Time) {
	im := d.im
	for _, m := range []int{103, 701} {
		im.set(m, "W", d.power)
		im.set(m, "VA", math.Abs(d.power))
		im.set(m, "A", math.Abs(d.power)/230)
	}
	for _, phase := range []string{"A", "B", "C"} {
		im.set(103, "Aph"+phase, math.Abs(d.power)/690)
		im.set(103, "PhVph"+phase, 230)
	}
	im.set(103, "Hz", 50)
	im.set(103, "WH", math.Mod(d.exported, math.MaxUint32))
	im.set(103, "TmpCab", 31)
	im.setRaw(103, "Evt1", 0)
	im.setRaw(122, "Tms", int64(now.Sub(epoch2000)/time.Second))

	im.set(701, "Hz", 50)
	im.set(701, "LNV", 230)
	im.setRaw(701, "St", 1)     // on
	im.setRaw(701, "InvSt", 3)  // running
	im.setRaw(701, "ConnSt", 1) // connected
	im.setRaw(701, "Alrm", 0)
	im.set(701, "TotWhInj", d.exported)
	im.set(701, "TotWhAbs", d.imported)
}

// acting publishes the device's own word on which controls are in effect.
func (d *Device) acting(capping, forcing bool) {
	var source int64
	if capping {
		source |= 1 // 701.ThrotSrc bit 0: MAX_W
	}
	if forcing {
		source |= 2 // bit 1: FIXED_W
	}
	d.im.setRaw(122, "StActCtl", min(source, 1)) // bit 0: FixedW, of either kind
	d.im.setRaw(701, "ThrotSrc", source)
	d.im.setRaw(701, "ThrotPct", 0)
}
