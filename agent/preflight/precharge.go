package preflight

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// How early charging begins: losses and a taper near full make it take a
// quarter longer than the energy and the power say, and some time is left to
// react when it does not work out.
const (
	chargeSlow   = 5 // quarters of the bare time
	chargeSpare  = 5 * time.Minute
	goalHeadroom = 100 // hundredths of a per cent above what is needed
)

// Precharge plans the charging of batteries whose energy would not do for an
// obligation to export: as late as sensible, until the window begins. Where a
// window for imports lies before it, nothing is planned: it would find no room.
// before is the last plan: what has begun is not put off, and goes on to its
// goal.
func Precharge(in Input, subjects []Subject, before []allocate.Preparation) []allocate.Preparation {
	var out []allocate.Preparation
	begun := func(p allocate.Preparation, s Subject) bool {
		return p.For == s.ID && p.Until.Equal(s.Window.Start) && p.Until.After(in.Now.At) && !p.From.After(in.Now.At)
	}
	for _, s := range subjects {
		plan, _ := charge(in, s)
		for _, o := range before {
			i := slices.IndexFunc(plan, func(p allocate.Preparation) bool { return p.Device == o.Device })
			switch {
			case !begun(o, s):
			case i < 0 && mayCharge(in, s, o.Device):
				plan = append(plan, o)
			case i >= 0 && o.From.Before(plan[i].From):
				plan[i].From = o.From
			}
		}
		for _, p := range plan {
			if !slices.ContainsFunc(subjects, func(o Subject) bool {
				return takes(o) && sharesAsset(o, s) && o.Window.Overlaps(flex.Window{Start: p.From, End: p.Until})
			}) {
				out = append(out, p)
			}
		}
	}
	return out
}

// mayCharge tells whether a device may still be charged for the subject.
func mayCharge(in Input, s Subject, id flex.DeviceID) bool {
	v := &verdict{in: in, s: s, stored: true}
	return slices.ContainsFunc(s.Shares, func(sh flex.AssetShare) bool {
		cells, _, _ := v.cellars(sh.Asset)
		return slices.ContainsFunc(cells, func(c cellar) bool { return c.dev.ID == id })
	})
}

// takes tells whether the subject may ask to take power from the grid.
func takes(s Subject) bool {
	return slices.ContainsFunc(s.Shares, func(sh flex.AssetShare) bool { return sh.Power < 0 })
}

// sharesAsset tells whether two subjects ask for the same asset.
func sharesAsset(a, b Subject) bool {
	return slices.ContainsFunc(a.Shares, func(x flex.AssetShare) bool {
		return slices.ContainsFunc(b.Shares, func(y flex.AssetShare) bool { return x.Asset == y.Asset })
	})
}

// cellar is a battery that may be charged.
type cellar struct {
	dev   allocate.Device
	room  float64    // Wh up to full
	power flex.Watts // magnitude
}

// charge plans one window, and tells whether the charge will do in time.
func charge(in Input, s Subject) (out []allocate.Preparation, enough bool) {
	if s.Kind != flex.PreflightObligation || !s.Window.Start.After(in.Now.At) || takes(s) {
		return nil, false
	}
	enough = true
	for _, sh := range s.Shares {
		v := &verdict{in: in, s: s, stored: true}
		have, need, known := v.balance(sh)
		if !known || have >= need {
			continue
		}
		plan, ok := v.chargeAsset(sh.Asset, need-have, need)
		out, enough = append(out, plan...), enough && ok
	}
	return out, enough
}

// chargeAsset spreads missing energy, Wh, over the batteries of an asset by
// the room that they have.
func (v *verdict) chargeAsset(id flex.AssetID, missing, need float64) ([]allocate.Preparation, bool) {
	cells, room, power := v.cellars(id)
	if room <= 0 || power <= 0 {
		return nil, false
	}
	allowed := 0.0
	for _, c := range cells {
		allowed += v.allowed(c.dev)
	}
	enough := missing <= room && need <= allowed
	scale := min(1, float64(v.headroom(cells))/float64(power))
	var longest time.Duration
	var out []allocate.Preparation
	for _, c := range cells {
		size := float64(c.dev.Plate.Energy)
		part := min(missing, room) * c.room / room
		p := max(1, flex.Watts(float64(c.power)*scale))
		longest = max(longest, time.Duration(part/float64(p)*float64(time.Hour)))
		goal := *c.dev.Reading.SoC + flex.Percent(part/size*float64(flex.Full)) + goalHeadroom
		out = append(out, allocate.Preparation{For: v.s.ID, Device: c.dev.ID, Until: v.s.Window.Start, Power: p, Goal: min(goal, c.dev.Full()),
			Text: fmt.Sprintf("preflight: precharge for obligation %s until %s", v.s.ID, v.s.Window.Start.UTC().Format("15:04Z"))})
	}
	from := v.s.Window.Start.Add(-longest*chargeSlow/4 - chargeSpare)
	for i := range out {
		out[i].From = from
	}
	return out, enough && v.in.Now.At.Add(longest).Before(v.s.Window.Start)
}

// cellars are the batteries of an asset that may be charged from the grid now,
// and by rule: with consent, answering, not observed, not held nor declared
// unavailable from now to the end of the window.
func (v *verdict) cellars(id flex.AssetID) (out []cellar, room float64, power flex.Watts) {
	i := slices.IndexFunc(v.in.Site.Assets, func(a allocate.Asset) bool { return a.ID == id })
	held := slices.ContainsFunc(v.in.Site.Holds, func(h flex.Hold) bool { return h.Asset == "" || h.Asset == id })
	away := slices.ContainsFunc(v.in.Away, func(u flex.Unavailability) bool {
		return u.Asset == id && u.Stands(flex.Window{Start: v.in.Now.At, End: v.s.Window.End})
	})
	if i < 0 || held || away || v.in.Site.Assets[i].Control == allocate.Observe {
		return nil, 0, 0
	}
	for _, dev := range v.in.Site.Assets[i].Devices {
		d, ok := v.find(dev)
		r := d.Reading
		if !ok || !d.Online || !d.GridCharge || d.Foreign != nil || d.Role == flex.RolePV || r == nil || r.SoC == nil || d.Plate.Energy <= 0 {
			continue
		}
		c := cellar{dev: d, room: max(0, float64(d.Plate.Energy)*float64(d.Full()-*r.SoC)/float64(flex.Full)), power: chargePower(d)}
		if c.room > 0 && c.power > 0 {
			out, room, power = append(out, c), room+c.room, power+c.power
		}
	}
	return out, room, power
}

// chargePower is what the battery takes in everyday use, magnitude.
func chargePower(d allocate.Device) flex.Watts {
	p := d.Plate.MaxCharge
	if m := d.Plate.MaxPower; m > 0 && (p == 0 || m < p) {
		p = m
	}
	if b := d.Owner.For(flex.UseNormal).MaxCharge; b != nil {
		p = min(p, *b)
	}
	return p
}

// headroom is what the site's import limit leaves for charging, by its meter
// as it is now: a tenth of the limit at least, so that a busy moment does not
// plan for ever.
func (v *verdict) headroom(cells []cellar) flex.Watts {
	limit := v.in.Site.Site.ImportLimit
	if limit <= 0 {
		return flex.MaxPower
	}
	left := limit
	if m := v.in.Site.Site.Meter; m != nil && m.Power != nil && m.Fresh(v.in.Site.Now, readingsOld) {
		left += *m.Power
		for _, c := range cells {
			if p := c.dev.Reading.Power; p != nil && *p < 0 {
				left -= *p
			}
		}
	}
	return max(left, limit/10)
}
