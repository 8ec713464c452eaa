package control

import (
	"fmt"
	"math"
	"slices"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// How finely a forecast looks: a dispatch is walked in steps of at least a
// minute, and never in more steps than that.
const (
	leastStep   = time.Minute
	partsAhead  = 60
	mostSteps   = 2000
	readingsOld = 30 * time.Second // as the planner's: older readings carry no new target
)

// Foresee tells whether the dispatch would be given in full. It asks the very
// rules that will carry it out, from now to the dispatch's end, beside all
// that is promised already, and lets batteries run down as told. Nothing is
// written, and nothing is known of the sun and the loads to come: what is
// measured now is taken to last. A battery's losses are not counted.
func (c *Controller) Foresee(d flex.Dispatch) flex.Foresight {
	in := c.input(c.cfg.Steady())
	return c.foresee(in, d)
}

// foresee asks the budgets first: what they do not carry is not begun.
func (c *Controller) foresee(in allocate.Input, d flex.Dispatch) flex.Foresight {
	if why := c.afford(d, in.Dispatches); why != nil {
		return flex.Foresight{Known: true, Missing: total(d), Reason: why.Reason, Text: why.Text, From: d.Window.Start}
	}
	return foresee(in, d, c.cfg.Decide)
}

// ForeseeBeside is Foresee for a dispatch that is only expected: without, are
// those that would be it. What the owner allows a day is whole again when it
// begins on another day of the site.
func (c *Controller) ForeseeBeside(d flex.Dispatch, without []flex.InstructionID) flex.Foresight {
	now := c.cfg.Steady()
	in := c.input(now)
	in.Dispatches = slices.DeleteFunc(slices.Clone(in.Dispatches), func(o flex.Dispatch) bool { return slices.Contains(without, o.ID) })
	if d.Window.Start.In(c.cfg.Zone).Format(time.DateOnly) > now.In(c.cfg.Zone).Format(time.DateOnly) {
		for i := range in.Devices {
			in.Devices[i].Owner.Left = nil
		}
	}
	return c.foresee(in, d)
}

// Site is the site as the planner sees it now.
func (c *Controller) Site() allocate.Input { return c.input(c.cfg.Steady()) }

// foresee walks the time until the dispatch is over.
func foresee(in allocate.Input, d flex.Dispatch, decide func(allocate.Input) allocate.Plan) flex.Foresight {
	in.Dispatches = append(slices.DeleteFunc(slices.Clone(in.Dispatches), func(o flex.Dispatch) bool { return o.ID == d.ID }), d)
	now, end := in.Now, d.Window.End
	if d.Window.Open() || !end.After(now) {
		return flex.Foresight{Known: true, Missing: total(d), Reason: flex.ReasonTooLate, Text: fmt.Sprintf("%v has no time left to deliver in", d.Window)}
	}
	blind, guess := unreadable(in, d)
	a := newAhead(in, max(leastStep, d.Window.Duration()/partsAhead), d.Use)
	var worst allocate.Shortfall
	var from time.Time
	for range mostSteps {
		if !a.in.Now.Before(end) {
			f := verdict(worst, blind, guess)
			f.From = from
			return f
		}
		plan := decide(a.in)
		if from.IsZero() && d.Wants(a.in.Now) && plan.Shortfall[d.ID].Missing > 0 {
			from = a.in.Now
		}
		if sf := plan.Shortfall[d.ID]; d.Wants(a.in.Now) && sf.Missing > worst.Missing {
			worst = sf
		}
		a.pass(plan, end)
	}
	return flex.Foresight{Text: "too much happens until its end to tell"}
}

// verdict puts what was found into a word.
func verdict(worst allocate.Shortfall, blind, guess string) flex.Foresight {
	decided := worst.Reason == flex.ReasonLocalHold || worst.Reason == flex.ReasonLimitSetByOthers
	switch {
	case worst.Missing == 0:
		return flex.Foresight{Known: true, Text: guess}
	case blind != "" && !decided:
		return flex.Foresight{Text: blind}
	}
	return flex.Foresight{Known: true, Missing: worst.Missing, Reason: worst.Reason, Text: worst.Text}
}

// total is the size of a dispatch.
func total(d flex.Dispatch) (sum flex.Watts) {
	for _, s := range d.Shares {
		sum += s.Power.Abs()
	}
	return sum
}

// unreadable names the devices of the dispatch that do not tell enough now,
// and those whose energy is not known.
func unreadable(in allocate.Input, d flex.Dispatch) (blind, guess string) {
	for _, dev := range in.Devices {
		if !serves(in.Assets, dev.ID, d) {
			continue
		}
		r := dev.Reading
		switch {
		case !dev.Online || r == nil || !r.Fresh(in.Now, readingsOld):
			blind = fmt.Sprintf("%s is not read at present", dev.ID)
			if dev.Fault != "" {
				blind = dev.Fault
			}
		case r.Power == nil || storage(dev) && r.SoC == nil && slices.Contains(dev.Plate.Can, flex.CanSoC):
			blind = fmt.Sprintf("%s does not tell enough of itself at present", dev.ID)
		case storage(dev) && (r.SoC == nil || dev.Plate.Energy <= 0):
			guess = fmt.Sprintf("the energy of %s is not known: judged by its power alone", dev.ID)
		}
	}
	return blind, guess
}

func serves(assets []allocate.Asset, id flex.DeviceID, d flex.Dispatch) bool {
	return slices.ContainsFunc(assets, func(a allocate.Asset) bool {
		return slices.Contains(a.Devices, id) && slices.ContainsFunc(d.Shares, func(s flex.AssetShare) bool { return s.Asset == a.ID })
	})
}

func storage(d allocate.Device) bool { return d.Role == flex.RoleStorage || d.Role == flex.RoleHybrid }

// ahead is the site at an instant to come.
type ahead struct {
	in    allocate.Input
	step  time.Duration
	cells []cell // in the order of in.Devices
}

// cell is the energy of one battery.
type cell struct {
	known     bool
	wh        float64
	size      float64
	full      float64 // charged up to
	reserve   float64
	sun       flex.Watts // what a hybrid gives beside its battery
	refreshed bool       // its reading counts as fresh
}

func newAhead(in allocate.Input, step time.Duration, use flex.Use) *ahead {
	a := &ahead{in: in, step: step, cells: make([]cell, len(in.Devices))}
	a.in.Devices = slices.Clone(in.Devices)
	for i := range a.in.Devices {
		d := &a.in.Devices[i]
		c := &a.cells[i]
		if d.Reading == nil {
			continue
		}
		r := *d.Reading
		d.Reading = &r
		c.refreshed = r.Fresh(in.Now, readingsOld)
		if d.Role == flex.RoleHybrid && r.Power != nil && r.Battery != nil {
			c.sun = max(0, *r.Power-*r.Battery)
		}
		if storage(*d) && r.SoC != nil && d.Plate.Energy > 0 {
			c.known, c.size = true, float64(d.Plate.Energy)
			c.wh = c.size * float64(*r.SoC) / float64(flex.Full)
			c.reserve = c.size * float64(d.Reserve(use)) / float64(flex.Full)
			c.full = c.size * float64(d.Full()) / float64(flex.Full)
		}
	}
	if in.Site.Meter != nil {
		m := *in.Site.Meter
		a.in.Site.Meter = &m
	}
	return a
}

// pass lets time go by under the plan, to the next instant at which something
// changes.
func (a *ahead) pass(plan allocate.Plan, end time.Time) {
	targets := make([]flex.Target, len(a.in.Devices))
	at := 0
	for i, d := range a.in.Devices {
		if d.Role != flex.RoleMeter && at < len(plan.Targets) {
			targets[i] = plan.Targets[at]
			at++
		}
	}
	dt := end.Sub(a.in.Now)
	if !plan.Next.IsZero() {
		dt = min(dt, plan.Next.Sub(a.in.Now))
	}
	for i, t := range targets {
		if t.Order != flex.OrderSet || t.Power == 0 {
			continue
		}
		dt = min(dt, a.step)
		if left, ok := a.cells[i].lasts(t.Power); ok {
			dt = min(dt, max(time.Second, left.Round(time.Second)))
		}
	}
	dt = max(dt, time.Nanosecond)
	before := a.in.Now
	a.in.Now = before.Add(dt)
	var moved flex.Watts
	for i := range targets {
		moved += a.follow(i, targets[i], dt)
	}
	a.in.State = shifted(plan.State, dt)
	if m := a.in.Site.Meter; m != nil {
		m.At = m.At.Add(dt)
		if m.Power != nil {
			p := *m.Power + moved
			m.Power = &p
		}
	}
}

// follow makes a device do as told for a while. It gives the change of its
// power.
func (a *ahead) follow(i int, t flex.Target, dt time.Duration) (moved flex.Watts) {
	d, c := &a.in.Devices[i], &a.cells[i]
	d.Target = t
	r := d.Reading
	if r == nil {
		return 0
	}
	if c.refreshed {
		r.At = r.At.Add(dt)
	}
	if r.Power != nil {
		p := *r.Power
		switch {
		case t.Order == flex.OrderSet:
			p = t.Power
		case t.Order == flex.OrderCap:
			p = min(p, t.Power)
		}
		moved = p - *r.Power
		r.Power = &p
	}
	if t.Order != flex.OrderSet {
		return moved
	}
	if r.Battery != nil {
		b := t.Power - c.sun
		r.Battery = &b
	}
	if c.known {
		soc := c.drain(t.Power, dt)
		r.SoC = &soc
	}
	if left := d.Owner.Left; left != nil && t.Power > c.sun {
		rest := max(0, *left-flex.WattHours(math.Round(float64(t.Power-c.sun)*dt.Hours())))
		d.Owner.Left = &rest
	}
	return moved
}

// lasts is how long the battery holds the power until its reserve, or until
// it is full.
func (c cell) lasts(p flex.Watts) (time.Duration, bool) {
	drain := float64(p - c.sun)
	var hours float64
	switch {
	case !c.known || drain == 0:
		return 0, false
	case drain > 0:
		hours = (c.wh - c.reserve) / drain
	default:
		hours = (c.full - c.wh) / -drain
	}
	if hours <= 0 || hours > 1000 {
		return 0, false
	}
	return time.Duration(hours * float64(time.Hour)), true
}

// drain takes the energy out and tells the charge that is left: at the bound
// exactly when the bound is reached.
func (c *cell) drain(p flex.Watts, dt time.Duration) flex.Percent {
	const hair = 0.01 // Wh
	c.wh = min(c.size, max(0, c.wh-float64(p-c.sun)*dt.Hours()))
	share := c.wh / c.size * float64(flex.Full)
	reserve := flex.Percent(math.Round(c.reserve / c.size * float64(flex.Full)))
	if p > c.sun {
		if c.wh > c.reserve+hair {
			return max(reserve+1, flex.Percent(share))
		}
		return min(reserve, flex.Percent(math.Ceil(share)))
	}
	full := flex.Percent(math.Round(c.full / c.size * float64(flex.Full)))
	if c.wh < c.full-hair {
		return min(full-1, flex.Percent(math.Ceil(share)))
	}
	return max(full, flex.Percent(share))
}

// shifted is the planner's memory, as old at the later instant as it is now.
// Steps of the meter are not judged: no meter was read.
func shifted(s allocate.State, dt time.Duration) allocate.State {
	s.Before = allocate.Step{}
	trails := make(map[flex.DeviceID][]allocate.Sample, len(s.PVTrail))
	for id, trail := range s.PVTrail {
		moved := slices.Clone(trail)
		for i := range moved {
			moved[i].At = moved[i].At.Add(dt)
		}
		trails[id] = moved
	}
	if s.PVTrail != nil {
		s.PVTrail = trails
	}
	return s
}
