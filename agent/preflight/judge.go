// Package preflight tells before a window begins whether this site could serve
// it: links, devices, energy, limits, orders of people, clock.
//
// In: the site as the planner sees it, its links, what people declared, and
// the windows to come, all as values; the Runner asks for them at the
// configured leads. Out: a verdict with every reason, kept, put into the diary
// and announced, and an alarm for each window at risk. It decides nothing and
// writes to no device: what it finds is for those who answer the market.
package preflight

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// readingsOld is the age from which a device counts as not answering.
const readingsOld = 30 * time.Second

// Subject is one window to come, and what it asks of this site.
type Subject struct {
	Kind       string
	ID         string
	Obligation flex.ObligationID
	Operator   string
	Window     flex.Window   // never open
	Run        time.Duration // the longest that can be asked for within it
	Shares     []flex.AssetShare
	Use        flex.Use
	Baselines  []flex.Baseline // what the shares count from
	Problem    *flex.Refusal   // why our part cannot be told
}

// Input is what a Subject is judged by.
type Input struct {
	Now       flex.Stamp
	ClockWhy  string
	Links     []Link
	Site      allocate.Input      // as the planner sees it now
	Status    []flex.DeviceStatus // meters included
	Meter     flex.DeviceID       // at the grid connection; "": none, or no limit rests on it
	Away      []flex.Unavailability
	Margin    flex.Percent // energy beyond what the window needs
	Foresight flex.Foresight
	Zone      *time.Location // in which the owner's days begin
	Plan      []allocate.Preparation
}

// Link is one connection to the outside.
type Link struct {
	Name string
	OK   bool
	Text string
}

// Judge looks at everything that the window needs. It never stops at the first
// reason: who reads it wants to mend all of them in one go.
func Judge(in Input, s Subject) flex.Preflight {
	v := &verdict{in: in, s: s, out: flex.Preflight{Kind: s.Kind, ID: s.ID, Obligation: s.Obligation, Operator: s.Operator,
		Window: s.Window, Shares: s.Shares, At: in.Now, Result: flex.PreflightGo}}
	if in.Now.Clock == flex.ClockUntrusted {
		v.add(flex.ReasonClockUntrusted, "clock", "no instruction is decided by this clock: %s", in.ClockWhy)
	}
	if s.Problem != nil {
		v.add(s.Problem.Reason, s.ID, "%s", s.Problem.Text)
	}
	for _, sh := range s.Shares {
		v.asset(sh)
	}
	v.meter(in.Meter, "the site's limits")
	for _, l := range in.Links {
		if !l.OK {
			v.add(flex.ReasonLinkDown, l.Name, "the link %s is down: %s", l.Name, l.Text)
		}
	}
	v.foresight()
	if len(v.out.Reasons) > 0 {
		v.out.Result = flex.PreflightAtRisk
	}
	return v.out
}

// verdict is one look in the making.
type verdict struct {
	in  Input
	s   Subject
	out flex.Preflight
	// stored counts what the batteries hold, whatever the owner allows of it.
	stored bool
}

func (v *verdict) add(reason flex.Reason, subject, format string, args ...any) {
	c := flex.Concern{Reason: reason, Subject: subject, Text: fmt.Sprintf(format, args...)}
	if !slices.Contains(v.out.Reasons, c) {
		v.out.Reasons = append(v.out.Reasons, c)
	}
}

func (v *verdict) note(format string, args ...any) {
	if n := fmt.Sprintf(format, args...); !slices.Contains(v.out.Notes, n) {
		v.out.Notes = append(v.out.Notes, n)
	}
}

// asset judges one share: what people decided, each device, the energy.
func (v *verdict) asset(sh flex.AssetShare) {
	i := slices.IndexFunc(v.in.Site.Assets, func(a allocate.Asset) bool { return a.ID == sh.Asset })
	if i < 0 {
		v.add(flex.ReasonUnknownAsset, string(sh.Asset), "asset %s is not configured", sh.Asset)
		return
	}
	a := v.in.Site.Assets[i]
	for _, h := range v.in.Site.Holds {
		if h.Asset == "" || h.Asset == a.ID {
			v.add(flex.ReasonLocalHold, string(a.ID), "asset %s is held by %s%s: `flexd release` lifts it", a.ID, h.By, because(h.Reason))
		}
	}
	for _, u := range v.in.Away {
		if u.Asset == a.ID && u.Stands(v.s.Window) {
			v.add(flex.ReasonUnavailable, string(a.ID), "asset %s is declared unavailable, %v, by %s%s", a.ID, u.Window, u.By, because(u.Reason))
		}
	}
	if a.Control == allocate.Observe {
		v.add(flex.ReasonObserved, string(a.ID), "asset %s is only observed: nothing would be written", a.ID)
	}
	if len(a.Devices) == 0 {
		v.add(flex.ReasonDeviceUnavailable, string(a.ID), "asset %s has no device", a.ID)
	}
	for _, id := range a.Devices {
		v.device(id)
	}
	v.able(a, sh.Power)
	if a.Control == allocate.Meter {
		v.meter(a.MeterID, "asset "+string(a.ID))
	}
	v.energy(a, sh)
}

func because(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

// device judges whether one device answers and may be controlled.
func (v *verdict) device(id flex.DeviceID) {
	d, known := v.find(id)
	st, seen := v.status(id)
	if !known || !seen {
		v.add(flex.ReasonDeviceUnavailable, string(id), "%s is not among the devices that can be controlled", id)
		return
	}
	if !d.Online || d.Reading == nil || !d.Reading.Fresh(v.in.Site.Now, readingsOld) {
		v.add(flex.ReasonDeviceUnavailable, string(id), "%s cannot be read%s", id, because(st.Error))
		return
	}
	if d.Foreign != nil {
		v.add(d.Foreign.Reason, string(id), "%s", d.Foreign.Text)
	}
	if i := st.Interference; i != nil && i.HandsOff {
		v.add(flex.ReasonOverridden, string(id), "%s is left to somebody else since %s: %s", id, i.At.UTC().Format(time.RFC3339), i.Text)
	}
	if st.ReleaseOwed {
		v.add(flex.ReasonDeviceUnavailable, string(id), "%s is not proven to be handed back from the last dispatch", id)
	}
	if why := d.Reading.Held; why != nil {
		v.add(why.Reason, string(id), "%s: %s", id, why.Text)
	} else if d.Reading.Status == "fault" {
		v.add(flex.ReasonDeviceFaulty, string(id), "%s reports a fault%s", id, because(strings.Join(d.Reading.Events, ", ")))
	}
}

// able judges what the nameplates say against an order: at the start it would
// be refused. Where another device of the asset can do it, that is worth a note.
func (v *verdict) able(a allocate.Asset, power flex.Watts) {
	if a.Control != allocate.Setpoint {
		return
	}
	var barred []flex.Concern
	others := 0
	for _, id := range a.Devices {
		d, known := v.find(id)
		switch text := bars(d, power); {
		case !known || d.Role == flex.RolePV:
		case text == "":
			others++
		default:
			barred = append(barred, flex.Concern{Reason: flex.ReasonUncontrollable, Subject: string(id), Text: text})
		}
	}
	for _, c := range barred {
		if others > 0 {
			v.note("%s", c.Text)
		} else {
			v.add(c.Reason, c.Subject, "%s", c.Text)
		}
	}
}

// bars tells why a device, as it stands now, takes no such order; "": it does.
func bars(d allocate.Device, power flex.Watts) string {
	var sun flex.Watts
	if d.Reading != nil && d.Reading.PV != nil {
		sun = *d.Reading.PV
	}
	told := slices.Contains(d.Plate.Can, flex.CanSet) && !slices.Contains(d.Plate.Can, flex.CanIdle)
	switch {
	case power < 0 && d.Plate.NoGridCharge && -power > sun:
		return fmt.Sprintf("%s charges from its own sun alone, which gives %v now: to take %v the configuration needs grid_charge: true", d.ID, sun, -power)
	case told && power == 0:
		return fmt.Sprintf("%s cannot be held at 0 W: told so, it would take its PV down", d.ID)
	case told && power.Abs() < sun:
		return fmt.Sprintf("%s takes its PV down to what it is told: while that gives more than is asked (%v now) no setpoint is written", d.ID, sun)
	}
	return ""
}

// meter judges whether a meter that something rests on is read.
func (v *verdict) meter(id flex.DeviceID, what string) {
	if id == "" {
		return
	}
	if st, ok := v.status(id); !ok || !st.Online || st.Reading == nil || st.Reading.Power == nil || !st.Reading.Fresh(v.in.Site.Now, readingsOld) {
		v.add(flex.ReasonDeviceUnavailable, string(id), "%s, the meter of %s, is not read%s", id, what, because(st.Error))
	}
}

func (v *verdict) find(id flex.DeviceID) (allocate.Device, bool) {
	for _, d := range v.in.Site.Devices {
		if d.ID == id {
			return d, true
		}
	}
	return allocate.Device{}, false
}

func (v *verdict) status(id flex.DeviceID) (flex.DeviceStatus, bool) {
	for _, d := range v.in.Status {
		if d.ID == id {
			return d, true
		}
	}
	return flex.DeviceStatus{}, false
}

// foresight adds what the planner's own rules find, where no reason above says
// the same already.
func (v *verdict) foresight() {
	f := v.in.Foresight
	switch {
	case len(v.s.Shares) == 0:
	case f.Known && f.Missing > 0:
		said := slices.ContainsFunc(v.out.Reasons, func(c flex.Concern) bool { return c.Reason == f.Reason })
		if !said {
			v.add(f.Reason, v.s.ID, "%v would be missing from %s on: %s", f.Missing, f.From.UTC().Format(time.RFC3339), f.Text)
		}
	case f.Known:
		if f.Text != "" {
			v.note("%s", f.Text)
		}
	case len(v.out.Reasons) == 0 && f.Text != "":
		v.add(flex.ReasonUnforeseen, v.s.ID, "%s", f.Text)
	}
}
