package config

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// Preflight is when windows to come are checked, and what is done about them.
type Preflight struct {
	Leads  []time.Duration // before a start, the longest first; none: only on demand
	Margin flex.Percent    // energy beyond what a window needs
	// Precharge charges batteries before a window that they would not do for.
	Precharge bool
}

// Bounds of the leads.
const (
	leastLead = time.Minute
	mostLead  = 7 * 24 * time.Hour
	mostLeads = 8
)

// preflight reads the leads and the margin.
func preflight(v value) Preflight {
	p := Preflight{Leads: []time.Duration{24 * time.Hour, time.Hour, 10 * time.Minute}, Margin: 1000}
	if !v.given() {
		return p
	}
	o := v.object("leads", "margin", "prepare")
	p.Precharge = o.get("prepare").choice("off", []string{"off", "precharge"}) == "precharge"
	if m := o.get("margin"); m.given() {
		p.Margin = m.percent()
	}
	list := o.get("leads")
	if !list.given() {
		return p
	}
	p.Leads = nil
	for _, item := range list.items() {
		lead := item.duration(0, leastLead, mostLead)
		switch {
		case lead == 0: // a problem already
		case slices.Contains(p.Leads, lead):
			item.problem("keep one of the two", "is listed twice")
		default:
			p.Leads = append(p.Leads, lead)
		}
	}
	if n := len(list.items()); n > mostLeads {
		list.problem(fmt.Sprintf("list at most %d", mostLeads), "has %d leads", n)
	}
	slices.Sort(p.Leads)
	slices.Reverse(p.Leads)
	return p
}

// combinePreflight checks what charging before a window needs: consent, and
// that nobody is paid for it. A baseline that is measured would count the
// charging as what the asset does by itself.
func (b builder) combinePreflight(o object, c *Config) {
	if !c.Preflight.Precharge {
		return
	}
	at := o.get("preflight")
	at = scalar(at, "prepare")
	var consent []flex.DeviceID
	for _, d := range c.Devices {
		if d.GridCharge && d.Role != flex.RolePV && d.Role != flex.RoleMeter {
			consent = append(consent, d.ID)
		}
	}
	if len(consent) == 0 {
		at.problem("set grid_charge: true on a battery, or choose off", "finds no battery that may be charged from the grid")
	}
	for i, a := range c.Assets {
		measured := a.Baseline != nil && a.Baseline.measured()
		if measured && slices.ContainsFunc(a.Devices, func(id flex.DeviceID) bool { return slices.Contains(consent, id) }) {
			at.problem("choose method nominated or zero there, or prepare: off",
				"would charge within the baseline that assets[%d] (%s) measures: the charging would count as delivery", i, a.MarketID)
		}
	}
}

// measured tells whether the baseline comes from what the asset did before.
func (b *Baseline) measured() bool {
	for _, m := range []string{b.Method, b.Fallback} {
		if m != "zero" && m != "nominated" && m != "refuse" {
			return true
		}
	}
	return false
}
