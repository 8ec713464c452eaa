package sim

import (
	"math"
	"slices"
	"time"
)

// group is a set of control points that share a reversion timer.
type group struct {
	name   string
	model  int
	points []string
	enable string // the point that puts the control in force
	idle   int64  // its value when not in force
	timer  string // seconds; 0 = never
	left   string // remaining seconds, where the model has it
	// back lists, for models that say what to revert to, pairs of point and
	// the point that holds its reversion value.
	back [][2]string
}

// groups are the controls of models 123, 124 and 704 that this plant obeys.
var groups = []group{
	{name: "123.Conn", model: 123, enable: "Conn", idle: 1, timer: "Conn_RvrtTms",
		points: []string{"Conn_WinTms", "Conn_RvrtTms", "Conn"}},
	{name: "123.WMaxLim", model: 123, enable: "WMaxLim_Ena", timer: "WMaxLimPct_RvrtTms",
		points: []string{"WMaxLimPct", "WMaxLimPct_WinTms", "WMaxLimPct_RvrtTms", "WMaxLimPct_RmpTms", "WMaxLim_Ena"}},
	{name: "124.StorCtl", model: 124, enable: "StorCtl_Mod", timer: "InOutWRte_RvrtTms",
		points: []string{"StorCtl_Mod", "OutWRte", "InWRte", "InOutWRte_WinTms", "InOutWRte_RvrtTms", "InOutWRte_RmpTms"}},
	{name: "704.WMaxLim", model: 704, enable: "WMaxLimPctEna", timer: "WMaxLimPctRvrtTms", left: "WMaxLimPctRvrtRem",
		points: []string{"WMaxLimPctEna", "WMaxLimPct", "WMaxLimPctRvrtTms"},
		back:   [][2]string{{"WMaxLimPct", "WMaxLimPctRvrt"}, {"WMaxLimPctEna", "WMaxLimPctEnaRvrt"}}},
	{name: "704.WSet", model: 704, enable: "WSetEna", timer: "WSetRvrtTms", left: "WSetRvrtRem",
		points: []string{"WSetEna", "WSetMod", "WSet", "WSetPct", "WSetRvrtTms"},
		back:   [][2]string{{"WSet", "WSetRvrt"}, {"WSetPct", "WSetPctRvrt"}, {"WSetEna", "WSetEnaRvrt"}}},
}

func (g group) inForce(im *image) bool {
	v, ok := im.raw(g.model, g.enable)
	return ok && v != g.idle
}

// arm restarts or stops the reversion timers of the groups just written to.
func (d *Device) arm(touched []ref, now time.Time) {
	for _, g := range groups {
		if !slices.ContainsFunc(touched, func(t ref) bool { return t.model == g.model && slices.Contains(g.points, t.name) }) {
			continue
		}
		if d.opt.RearmOnEnable && g.model == 704 && !slices.Contains(touched, ref{g.model, g.enable}) {
			continue
		}
		delete(d.timers, g.name)
		if s, ok := d.im.raw(g.model, g.timer); ok && s > 0 && g.inForce(d.im) && !d.opt.NeverReverts {
			d.timers[g.name] = now.Add(time.Duration(s) * time.Second)
		}
	}
	d.countdown(now)
}

// revert takes controls out of force whose time is up.
func (d *Device) revert(now time.Time) {
	for _, g := range groups {
		deadline, armed := d.timers[g.name]
		if !armed || now.Before(deadline) {
			continue
		}
		delete(d.timers, g.name)
		if len(g.back) == 0 {
			d.im.setRaw(g.model, g.enable, g.idle)
			continue
		}
		for _, pair := range g.back {
			if v, ok := d.im.raw(g.model, pair[1]); ok {
				d.im.setRaw(g.model, pair[0], v)
			} else if pair[0] == g.enable {
				d.im.setRaw(g.model, pair[0], g.idle)
			}
		}
	}
	d.countdown(now)
}

// countdown publishes the remaining times.
func (d *Device) countdown(now time.Time) {
	for _, g := range groups {
		if g.left == "" {
			continue
		}
		left := 0.0
		if deadline, armed := d.timers[g.name]; armed {
			left = math.Ceil(max(0, deadline.Sub(now).Seconds()))
		}
		d.im.setRaw(g.model, g.left, int64(left))
	}
}

// legal tells whether the point holds a value that the models allow.
func legal(im *image, t ref) bool {
	v, ok := im.raw(t.model, t.name)
	full := 100 + 1e-9
	switch t {
	case ref{123, "Conn"}, ref{123, "WMaxLim_Ena"}, ref{704, "WMaxLimPctEna"}, ref{704, "WMaxLimPctEnaRvrt"},
		ref{704, "WSetEna"}, ref{704, "WSetEnaRvrt"}, ref{704, "WSetMod"}, ref{124, "ChaGriSet"}:
		return ok && v >= 0 && v <= 1
	case ref{124, "StorCtl_Mod"}:
		return ok && v >= 0 && v <= 3
	case ref{123, "WMaxLimPct"}, ref{704, "WMaxLimPct"}, ref{124, "OutWRte"}, ref{124, "InWRte"}, ref{704, "WSetPct"}:
		pct, ok := im.value(t.model, t.name)
		return ok && math.Abs(pct) <= full
	}
	return true
}

// limits are the controls in force, in W.
type limits struct {
	connected bool
	cap       float64 // most AC generation
	capped    bool
	set       float64 // AC setpoint
	setOn     bool
	lo, hi    float64 // bounds on the battery's power
	stored    bool    // lo or hi were commanded
}

// limits reads the controls from the registers. rated is the rating that
// percentages refer to where the map does not say.
func (d *Device) limits(rated, charge, discharge float64) limits {
	l := limits{connected: true, cap: rated, lo: -charge, hi: discharge}
	if d.opt.IgnoresControl {
		return l
	}
	im := d.im
	if conn, ok := im.raw(123, "Conn"); ok {
		l.connected = conn == 1
	}
	on := func(model int, name string) bool { v, ok := im.raw(model, name); return ok && v == 1 }
	if pct, ok := im.value(123, "WMaxLimPct"); ok && on(123, "WMaxLim_Ena") {
		l.cap, l.capped = min(l.cap, pct/100*base(im, 121, "WMax", rated)), true
	}
	if pct, ok := im.value(704, "WMaxLimPct"); ok && on(704, "WMaxLimPctEna") {
		l.cap, l.capped = min(l.cap, pct/100*base(im, 702, "WMax", rated)), true
	}
	if on(704, "WSetEna") && d.canSet() {
		l.setOn = true
		if on(704, "WSetMod") {
			l.set, _ = im.value(704, "WSet")
		} else {
			pct, _ := im.value(704, "WSetPct")
			l.set = pct / 100 * base(im, 702, "WMax", rated)
		}
	}
	d.storageLimits(&l)
	if d.opt.Reversed {
		l.set = -l.set
		if l.stored {
			l.lo, l.hi = -l.hi, -l.lo
		}
	}
	return l
}

// storageLimits applies model 124: bit 0 limits charging by InWRte, bit 1
// discharging by OutWRte; a negative rate turns the limit into a duty. Bounds
// that contradict each other leave the battery at rest.
func (d *Device) storageLimits(l *limits) {
	mode, ok := d.im.raw(124, "StorCtl_Mod")
	if !ok || mode == 0 {
		return
	}
	full := base(d.im, 124, "WChaMax", max(-l.lo, l.hi))
	rate := func(name string) float64 {
		pct, _ := d.im.value(124, name)
		if pct < 0 && d.opt.NoForcedRates {
			pct = 0
		}
		return pct / 100 * full
	}
	lo, hi := l.lo, l.hi
	l.stored = true
	if mode&1 != 0 {
		l.lo = max(lo, min(hi, -rate("InWRte")))
	}
	if mode&2 != 0 {
		l.hi = max(lo, min(hi, rate("OutWRte")))
	}
	if l.lo > l.hi {
		l.lo, l.hi = 0, 0
	}
}

// canSet tells whether the device says that it takes a power setpoint
// (702.CtrlModes, bit 1 FIXED_W).
func (d *Device) canSet() bool {
	modes, ok := d.im.raw(702, "CtrlModes")
	return ok && modes&2 != 0
}

// base is the register that percentages refer to.
func base(im *image, model int, name string, otherwise float64) float64 {
	if v, ok := im.value(model, name); ok && v > 0 {
		return v
	}
	return otherwise
}
