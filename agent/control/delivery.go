package control

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Delivery says when an asset's power counts as not delivered.
type Delivery struct {
	Part  flex.Percent  // tolerance, of what is asked
	Power flex.Watts    // tolerance in its place; 0: Part counts
	After time.Duration // it must have been missed for so long
}

// What holds where nothing is configured: operators meter by the minute.
const (
	missPart   flex.Percent = 500 // 5 %
	missAfter               = time.Minute
	missedCalm              = 10 * time.Second // delivered for so long before the alarm ends
	measureOld              = 30 * time.Second
)

func (d Delivery) withDefaults() Delivery {
	if d.Part == 0 {
		d.Part = missPart
	}
	if d.After <= 0 {
		d.After = missAfter
	}
	return d
}

// missing is what is known of an asset that is asked for power. Only the
// planner's goroutine touches it, but for raised.
type missing struct {
	asked  flex.Watts
	from   time.Time // it has been asked for that since
	bad    time.Time // and missed since; zero: it is met
	good   time.Time // met since, while the alarm is raised
	met    time.Time // first met, of what is asked now
	raised bool
	ids    []flex.InstructionID
}

// judgeAssets compares what was asked of every asset with what is measured,
// whatever the plan could do about it: the operator is owed what it asked for.
func (c *Controller) judgeAssets(in allocate.Input, plan allocate.Plan) {
	for i := range in.Assets {
		a := &in.Assets[i]
		var asked flex.Watts
		ds := c.desk.asked[:0]
		for k := range in.Dispatches { // most are for other assets: they are looked at first, and not copied
			d := &in.Dispatches[k]
			share := slices.IndexFunc(d.Shares, func(sh flex.AssetShare) bool { return sh.Asset == a.ID })
			if share < 0 || !d.Wants(in.Now) {
				continue
			}
			if _, waits := d.Outranking(in.Dispatches, a.ID, in.Now); waits {
				continue
			}
			asked += d.Shares[share].Power
			ds = append(ds, *d)
		}
		c.desk.asked = ds
		if len(ds) == 0 || a.Control == allocate.Observe {
			c.count(in.Now, a.ID, nil, 0, 0, "", false)
			c.judged(a.ID, nil)
			continue
		}
		c.judgeAsset(in, plan, a, ds, asked)
	}
	c.forgetCounted(in.Dispatches)
}

// judgeAsset follows one asset while it is asked for power.
func (c *Controller) judgeAsset(in allocate.Input, plan allocate.Plan, a *allocate.Asset, ds []flex.Dispatch, asked flex.Watts) {
	m, known := c.missed[a.ID]
	if !known {
		m = &missing{}
		c.mu.Lock()
		c.missed[a.ID] = m
		c.mu.Unlock()
	}
	if !known || m.asked != asked {
		m.asked, m.from, m.bad = asked, in.Now, time.Time{}
		c.mu.Lock()
		m.met = time.Time{}
		c.mu.Unlock()
	}
	rule := c.cfg.Delivery[a.ID].withDefaults()
	got, how, read := delivered(in, a, ds, asked)
	c.count(in.Now, a.ID, ds, asked, got, how, read)
	lack := asked - got
	if asked < 0 {
		lack = -lack
	}
	tolerance := rule.tolerance(asked, c.grain(a))
	missed := !read || lack > tolerance || -lack > tolerance && !a.Free
	switch {
	case !missed:
		m.bad = time.Time{}
		if m.met.IsZero() {
			c.mu.Lock()
			m.met = time.Now()
			c.mu.Unlock()
			c.cfg.OnChange()
		}
		if m.good.IsZero() {
			m.good = in.Now
		}
		if m.raised && in.Now.Sub(m.good) >= missedCalm {
			c.judged(a.ID, m)
		}
		return
	case in.Now.Sub(m.from) < c.settling(a):
		m.good = time.Time{}
		return // on its way
	}
	m.good = time.Time{}
	if m.bad.IsZero() {
		m.bad = in.Now
	}
	if in.Now.Sub(m.bad) < rule.After && !m.raised {
		return
	}
	c.mu.Lock()
	m.raised, m.ids = true, nil
	for _, d := range ds {
		m.ids = append(m.ids, d.ID)
	}
	c.mu.Unlock()
	since := putOff(m.bad, c.stepped()) // as the wall clock shows it
	c.cfg.Health.Raise(CodeNotDelivered, string(a.ID), missText(a, ds, m.asked, since, got, lack, how, read, tolerance, c.whyMissed(a, ds, plan)))
	c.cfg.OnChange()
}

// judged ends the judgement of an asset; with m only its alarm.
func (c *Controller) judged(id flex.AssetID, m *missing) {
	old := c.missed[id]
	if old == nil {
		return
	}
	c.mu.Lock()
	was := old.raised
	old.raised = false
	c.mu.Unlock()
	if m == nil {
		c.mu.Lock()
		delete(c.missed, id)
		c.mu.Unlock()
	}
	if was {
		c.cfg.Health.Clear(CodeNotDelivered, string(id))
		c.cfg.OnChange()
	}
}

// grain is what the setpoints of the asset's devices can tell apart together.
func (c *Controller) grain(a *allocate.Asset) (sum flex.Watts) {
	for _, id := range a.Devices {
		if s := c.byID[id]; s != nil {
			s.mu.Lock()
			sum += s.plate.Step
			s.mu.Unlock()
		}
	}
	return sum
}

// settling is how long the asset's devices may take after a change.
func (c *Controller) settling(a *allocate.Asset) time.Duration {
	out := c.cfg.Settle
	for _, s := range c.slots {
		if slices.Contains(a.Devices, s.id()) {
			s.mu.Lock()
			out = max(out, s.settling())
			s.mu.Unlock()
		}
	}
	return out
}

// delivered is what the asset gives of what is asked, by its meter where it is
// held or settled by it, else by its devices: storage by its power, generation
// by what is less than before the start.
func delivered(in allocate.Input, a *allocate.Asset, ds []flex.Dispatch, asked flex.Watts) (got flex.Watts, how string, read bool) {
	based := slices.ContainsFunc(ds, func(d flex.Dispatch) bool {
		return slices.ContainsFunc(d.Baselines, func(b flex.Baseline) bool { return b.Asset == a.ID && b.Method != flex.MethodZero })
	})
	if a.MeterID != "" && (based || a.Control == allocate.Meter) {
		if a.Meter == nil || a.Meter.Power == nil || !a.Meter.Fresh(in.Now, measureOld) {
			return 0, fmt.Sprintf("its meter %s is not read", a.MeterID), false
		}
		var reference flex.Watts
		for _, d := range ds {
			if b := d.Baseline(a.ID, in.Now); b != 0 {
				reference = b
			}
		}
		return *a.Meter.Power - reference, fmt.Sprintf("at meter %s", a.MeterID), true
	}
	how = "by its devices"
	for _, dev := range in.Devices {
		if !slices.Contains(a.Devices, dev.ID) || dev.Role == flex.RoleMeter {
			continue
		}
		r := dev.Reading
		if r == nil || r.Power == nil || !r.Fresh(in.Now, measureOld) {
			how += fmt.Sprintf(", %s is not read", dev.ID)
			continue
		}
		if dev.Role != flex.RolePV {
			got, read = got+*r.Power, true
			continue
		}
		if base, ok := generated(in.State, dev.ID, ds); ok && asked < 0 {
			got, read = got+min(0, *r.Power-base), true
		}
	}
	return got, how, read
}

// generated is what a generator gave before the dispatches turned it down.
func generated(s allocate.State, id flex.DeviceID, ds []flex.Dispatch) (base flex.Watts, ok bool) {
	for _, d := range ds {
		if b, has := s.PVBaseline[id][d.ID]; has {
			base, ok = max(base, b), true
		}
	}
	return base, ok
}

// whyMissed is what is known of the reason, and of whether it will pass.
func (c *Controller) whyMissed(a *allocate.Asset, ds []flex.Dispatch, plan allocate.Plan) string {
	var out []string
	for _, d := range ds {
		if sf := plan.Shortfall[d.ID]; sf.Missing > 0 && !slices.Contains(out, sf.Text) {
			out = append(out, sf.Text)
		}
	}
	if len(out) > 0 {
		return strings.Join(out, "; ") + "; it stays so while this lasts"
	}
	for _, id := range a.Devices {
		s := c.byID[id]
		if s == nil {
			continue
		}
		s.mu.Lock()
		switch {
		case s.err != "":
			out = append(out, fmt.Sprintf("%s: %s", id, s.err))
		case s.deliver != nil && !*s.deliver:
			out = append(out, fmt.Sprintf("%s holds its setpoint and does not follow it", id))
		}
		s.mu.Unlock()
	}
	if len(out) > 0 {
		return strings.Join(out, "; ") + "; flexd goes on trying"
	}
	return "the devices do what they were told; what else draws or gives at this place is not theirs"
}

// missText is what the operator's control room must be told.
func missText(a *allocate.Asset, ds []flex.Dispatch, asked flex.Watts, since time.Time, got, lack flex.Watts, how string, read bool, tolerance flex.Watts, why string) string {
	who := make([]string, len(ds))
	test := true
	for i, d := range ds {
		who[i] = "instruction " + string(d.ID)
		if d.Obligation != "" {
			who[i] += " of obligation " + string(d.Obligation)
		}
		if d.Operator != "" {
			who[i] += " of " + d.Operator
		}
		test = test && d.Use == flex.UseNormal
	}
	measured := fmt.Sprintf("%v measured %s", got, how)
	switch {
	case !read:
		measured = "nothing is measured: " + how
	case lack > 0:
		measured += fmt.Sprintf(", %v missing", lack)
	default:
		measured += fmt.Sprintf(", %v too much", -lack)
	}
	tell := "tell the control room"
	if test {
		tell = "a rehearsal: nobody needs to be told"
	}
	return fmt.Sprintf("asset %s is asked for %v by %s; %s since %s, tolerance %v; %s; %s",
		a.ID, asked, strings.Join(who, " and "), measured, since.UTC().Format(time.RFC3339), tolerance, why, tell)
}

// missingOf tells whether an asset of the dispatch is known not to deliver; mu is held.
func (c *Controller) missingOf(id flex.InstructionID) bool {
	for _, m := range c.missed {
		if m.raised && slices.Contains(m.ids, id) {
			return true
		}
	}
	return false
}

// metBy is since when every asset of the dispatch has given what is asked of
// it, zero while one does not; mu is held.
func (c *Controller) metBy(shares []flex.AssetShare) (at time.Time, all bool) {
	for _, sh := range shares {
		m := c.missed[sh.Asset]
		if m == nil || m.met.IsZero() {
			return time.Time{}, false
		}
		at = later(at, m.met)
	}
	return at, true
}
