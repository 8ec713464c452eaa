package allocate

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// next is the earliest instant after now at which a device is told of a
// dispatch, or one begins, ends or is stopped, or a preparation does.
func next(in *Input) time.Time {
	var out time.Time
	see := func(t time.Time) {
		if t.After(in.Now) && (out.IsZero() || t.Before(out)) {
			out = t
		}
	}
	for _, p := range in.Prepare {
		see(p.From)
		see(p.Until)
	}
	slow := slices.ContainsFunc(in.Devices, func(d Device) bool { return d.lead() > 0 })
	for i := range in.Dispatches {
		d := &in.Dispatches[i]
		see(d.Window.Start)
		see(d.Window.End)
		see(d.StopAt)
		if slow && d.Window.Start.After(in.Now) {
			leads(in, d, see)
		}
	}
	return out
}

// work is one decision in the making. Its lists are used again for the next.
type work struct {
	in     Input
	split  splitter
	lists  lists
	wants  []flex.Dispatch // those that ask for power now, by start and id
	coming []flex.Dispatch // those that begin within MaxLead
	slots  []slot
	byID   map[flex.DeviceID]*slot
	short  map[flex.InstructionID]Shortfall
	alarms []Alarm
	state  State
}

// lists are those of one asset.
type lists struct {
	limits, bounds []limit
	claims         []claim
	storage, pv    []*slot
	demands        []demand
	wants, coming  []flex.Dispatch
}

func byStart(a, b flex.Dispatch) int {
	return cmp.Or(a.Window.Start.Compare(b.Window.Start), cmp.Compare(a.ID, b.ID))
}

// reset begins a decision.
func (w *work) reset(in Input) {
	w.in, w.short, w.alarms, w.wants = in, nil, nil, w.wants[:0]
	if w.byID == nil {
		w.byID = make(map[flex.DeviceID]*slot, len(in.Devices))
	}
	clear(w.byID)
	if len(w.slots) != len(in.Devices) {
		w.slots = make([]slot, len(in.Devices))
	}
	for i := range w.slots {
		s := &w.slots[i]
		*s = slot{claims: s.claims[:0], whys: s.whys[:0], limits: s.limits[:0]}
	}
	for _, d := range in.Dispatches {
		if d.Wants(in.Now) {
			w.wants = append(w.wants, d)
		}
	}
	slices.SortFunc(w.wants, byStart)
	for i := range in.Devices {
		d := &in.Devices[i]
		s := &w.slots[i]
		s.dev, s.offline = d, !d.Online
		if d.Foreign != nil {
			s.blocked = &limit{d.Foreign.Reason, "limit_set_by_others", 0, plain(d.Foreign.Text)}
		}
		if d.Reading != nil && d.Reading.Power != nil && d.Reading.Fresh(in.Now, meterAfter) {
			s.measured = d.Reading.Power
		}
		w.byID[d.ID] = s
	}
	w.early()
	w.uses()
	for i := range w.slots {
		w.slots[i].room(in.Now)
	}
	for _, a := range in.Assets {
		w.observeAndHold(a)
	}
	w.state = w.nextState()
}

// observeAndHold marks the devices of an asset. Both outrank every other
// asset that a device may belong to.
func (w *work) observeAndHold(a Asset) {
	var held *flex.Hold
	for i, h := range w.in.Holds {
		if (h.Asset == "" || h.Asset == a.ID) && (held == nil || h.Asset < held.Asset) {
			held = &w.in.Holds[i]
		}
	}
	for _, id := range a.Devices {
		s, ok := w.byID[id]
		if !ok {
			continue
		}
		if a.Control == Observe {
			s.observe = true
		}
		if held != nil {
			s.blocked = &limit{flex.ReasonLocalHold, "hold", 0, plain(holdText(*held))}
		}
	}
}

func holdText(h flex.Hold) string {
	text := "held"
	if h.By != "" {
		text += " by " + h.By
	}
	if h.Reason != "" {
		text += ": " + h.Reason
	}
	return text
}

// asset gives one asset's wish to its devices.
func (w *work) asset(a *Asset) {
	ds, ahead := w.of(a)
	if len(ds) == 0 {
		return
	}
	claims, wish, reference, until := w.claims(a, ds, w.in.Now.Add(ahead))
	limits := w.lists.limits[:0]
	defer func() { w.lists.limits = limits }()
	var how note
	if a.Control == Meter {
		wish, how = w.byMeterOf(a, wish, reference)
	}
	rest := wish
	if a.MaxDispatch > 0 && wish.Abs() > a.MaxDispatch {
		rest = wish.Clamp(-a.MaxDispatch, a.MaxDispatch)
		limits = append(limits, limit{flex.ReasonRating, "rating", 0, say("asset %s is bounded to %v by max_dispatch", word(a.ID), watts(a.MaxDispatch))})
	}
	over := wish - rest
	storage, pv := w.gather(a, claims, until, &limits)
	if ahead > 0 {
		defer w.onlyDue(a, ahead)
		pv = nil
	}
	if a.Control == Meter {
		for _, s := range storage {
			s.whys = append(s.whys, why{"meter", wish, say("asset %s is asked for %v: ", word(a.ID), watts(wish)), how})
		}
		pv = nil // generation belongs to the rest
	}
	rest -= w.driveStorage(rest, storage)
	if rest < 0 {
		rest += w.driveCaps(-rest, pv, claims, &limits)
	}
	if rest > 0 && len(pv) > 0 {
		limits = append(limits, limit{flex.ReasonUncontrollable, "", 0, plain("generation cannot be raised by a setpoint")})
	}
	if rest != 0 {
		for _, s := range storage {
			limits = bounding(limits, s, rest)
		}
	}
	w.miss(rest+over, claims, limits)
}

// claims are what the dispatches ask of an asset, together and from which
// reference, at an instant.
func (w *work) claims(a *Asset, ds []flex.Dispatch, at time.Time) (claims []claim, wish, reference flex.Watts, until time.Time) {
	claims = w.lists.claims[:0]
	defer func() { w.lists.claims = claims }()
	for _, d := range ds {
		for _, sh := range d.Shares {
			if sh.Asset != a.ID {
				continue
			}
			claims = append(claims, claim{d.ID, sh.Power, at.After(w.in.Now)})
			wish += sh.Power
			if b := d.Baseline(a.ID, at); b != 0 {
				reference = b
			}
			until = earlier(until, endOf(d))
		}
	}
	return claims, wish, reference, until
}

// gather finds the devices of the asset that can take part, and notes why
// the others cannot.
func (w *work) gather(a *Asset, claims []claim, until time.Time, limits *[]limit) (storage, pv []*slot) {
	storage, pv = w.lists.storage[:0], w.lists.pv[:0]
	defer func() { w.lists.storage, w.lists.pv = storage, pv }()
	for _, id := range a.Devices {
		s, ok := w.byID[id]
		if !ok || s.dev.Role == flex.RoleMeter {
			continue
		}
		s.wanted = true
		s.claims = append(s.claims, claims...)
		s.until = earlier(s.until, until)
		for _, c := range claims {
			s.why("instruction", c.share, "instruction %s asks asset %s for %v", word(c.id), word(a.ID), watts(c.share))
		}
		switch {
		case s.blocked != nil:
			*limits = append(*limits, *s.blocked)
		case s.offline:
			*limits = append(*limits, limit{flex.ReasonDeviceUnavailable, "offline", 0, s.absent()})
		case s.storage():
			storage = append(storage, s)
		case s.pv():
			pv = append(pv, s)
		default:
			*limits = append(*limits, limit{flex.ReasonUncontrollable, "", 0, say("%s cannot be controlled", word(id))})
		}
	}
	if len(storage)+len(pv) == 0 && len(*limits) == 0 {
		*limits = append(*limits, limit{flex.ReasonDeviceUnavailable, "", 0, say("asset %s has no device", word(a.ID))})
	}
	return storage, pv
}

// driveStorage spreads power over storage and tells how much was placed.
func (w *work) driveStorage(power flex.Watts, slots []*slot) flex.Watts {
	export := power > 0
	ds := w.lists.demands[:0]
	for _, s := range slots {
		d := demand{key: string(s.dev.ID), weight: s.weight(export)}
		if export {
			d.room = max(0, s.hi-max(0, s.want))
		} else {
			d.room = max(0, min(0, s.want)-s.lo)
		}
		ds = append(ds, d)
	}
	w.lists.demands = ds
	var placed flex.Watts
	for i, p := range w.byRamp(power.Abs(), ds, slots, export) {
		if !export {
			p = -p
		}
		s := slots[i]
		placed += p
		s.want += p
		if stays(s) {
			continue
		}
		s.set = true
		s.why("share", s.want, "the part of %s is %v", word(s.dev.ID), watts(p))
		if p.Abs() < ds[i].room || power.Abs() <= p.Abs() {
			continue
		}
		w.lists.bounds = bounding(w.lists.bounds[:0], s, power-p)
		for _, l := range w.lists.bounds {
			s.whys = append(s.whys, why{who: l.who, power: s.want, text: l.text})
		}
	}
	return placed
}

// stays tells whether a device that may take nothing new, and holds nothing,
// is left alone.
func stays(s *slot) bool {
	if s.want != 0 || s.dev.Target.Order == flex.OrderSet {
		return false
	}
	return slices.ContainsFunc(s.limits, func(l limit) bool { return l.who == "stale" || l.reason == flex.ReasonUnsupported })
}

// bounding adds the limits that explain why a storage gives no more towards
// the sign of missing: the particular ones, else the rating.
func bounding(out []limit, s *slot, missing flex.Watts) []limit {
	had := len(out)
	for _, l := range s.limits {
		if l.reason == flex.ReasonRating || l.sign > 0 && missing < 0 || l.sign < 0 && missing > 0 {
			continue
		}
		out = append(out, l)
	}
	if len(out) == had && len(s.limits) > 0 {
		out = append(out, s.limits[0])
	}
	return out
}

// miss books the part of an asset's wish that nobody can take.
func (w *work) miss(missing flex.Watts, claims []claim, limits []limit) {
	if missing == 0 {
		return
	}
	parts := make([]part, len(claims))
	same := false
	for i, c := range claims {
		if c.share > 0 == (missing > 0) && !c.early {
			parts[i] = part{key: string(c.id), weight: uint64(c.share.Abs())}
			same = true
		}
	}
	if !same {
		return
	}
	given, _ := new(splitter).apportion(missing.Abs(), 1, parts)
	reason, text := account(limits)
	for i, c := range claims {
		if given[i] == 0 {
			continue
		}
		sf := w.short[c.id]
		sf.Missing += given[i]
		if sf.Reason == "" || rank(reason) < rank(sf.Reason) {
			sf.Reason = reason
		}
		if !strings.Contains(sf.Text, text) {
			sf.Text = strings.TrimPrefix(sf.Text+"; "+text, "; ")
		}
		if w.short == nil {
			w.short = map[flex.InstructionID]Shortfall{}
		}
		w.short[c.id] = sf
	}
}

// account picks the weightiest reason and tells all of them.
func account(limits []limit) (flex.Reason, string) {
	reason := flex.ReasonDeviceUnavailable
	var texts []string
	for i, l := range limits {
		if i == 0 || rank(l.reason) < rank(reason) {
			reason = l.reason
		}
		if text := l.text.String(); !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
	}
	return reason, strings.Join(texts, "; ")
}

// rank orders reasons: what a person decided first, then what is broken, then
// what is merely too small.
func rank(r flex.Reason) int {
	order := []flex.Reason{
		flex.ReasonLocalHold, flex.ReasonLimitSetByOthers, flex.ReasonDuplicateDevice, flex.ReasonContraryPower, flex.ReasonWriteBudget, flex.ReasonDeviceUnavailable, flex.ReasonUnsupported,
		flex.ReasonEnergyInsufficient, flex.ReasonSiteLimit, flex.ReasonOwnerLimit, flex.ReasonUncontrollable, flex.ReasonRating,
	}
	if i := slices.Index(order, r); i >= 0 {
		return i
	}
	return len(order)
}

// unknownAssets books shares of assets that the configuration no longer has.
func (w *work) unknownAssets() {
	for _, d := range w.wants {
		for _, sh := range d.Shares {
			if !slices.ContainsFunc(w.in.Assets, func(a Asset) bool { return a.ID == sh.Asset }) {
				w.miss(sh.Power, []claim{{d.ID, sh.Power, false}}, []limit{{flex.ReasonUnknownAsset, "", 0, say("asset %s is not configured", word(sh.Asset))}})
			}
		}
	}
}

// target is the slot's order; whys and ids are told by the Planner.
func (s *slot) target() flex.Target {
	t := flex.Target{Device: s.dev.ID, Order: flex.OrderNone, Observe: s.observe}
	switch {
	case s.blocked != nil:
		s.whys = append(s.whys, why{who: s.blocked.who, text: s.blocked.text})
		return t
	case !s.wanted:
		return t
	case s.offline:
		if s.dev.Target.Order != flex.OrderSet && s.dev.Target.Order != flex.OrderCap || !s.continues() {
			return t
		}
		t.Order, t.Power = s.dev.Target.Order, s.dev.Target.Power
		s.whys = append(s.whys, why{"offline", t.Power, s.absent(), plain(": its target is kept, its part goes to others")})
	case s.set:
		t.Order, t.Power = flex.OrderSet, s.want
	case s.capped:
		t.Order, t.Power, t.Before = flex.OrderCap, s.cap, s.before
	default:
		if s.dev.Role == flex.RolePV {
			s.why("uncontrollable", 0, "left uncapped")
		}
		return t
	}
	if s.observe {
		s.why("observe", t.Power, "observed only: nothing is written")
	}
	t.Until = s.until
	return t
}

// absent tells why the device is not counted on.
func (s *slot) absent() note {
	if s.dev.Fault != "" {
		return plain(s.dev.Fault)
	}
	return say("%s cannot be read", word(s.dev.ID))
}

// continues tells whether what the device was told was for a dispatch that
// still wants it: the watts of one that is over are never told for the next.
func (s *slot) continues() bool {
	return slices.ContainsFunc(s.claims, func(c claim) bool { return slices.Contains(s.dev.Target.Dispatch, c.id) })
}

// endOf is when the dispatch stops asking.
func endOf(d flex.Dispatch) time.Time { return earlier(d.Window.End, d.StopAt) }

// earlier of two instants, where zero means never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
