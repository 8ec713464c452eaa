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
	o.get("prepare").choice("off", []string{"off"}, "precharge")
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
