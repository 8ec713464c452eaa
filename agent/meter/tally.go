package meter

import (
	"time"

	"flexd/agent/flex"
)

// The bounds of samples. All times inside this file are milliseconds.
const (
	gapAfter  = 10 * time.Second // a longer silence was not measured
	bridgeMax = 2 * time.Hour    // and so far counters tell what went on in it
	aheadMax  = 2 * time.Second  // a sample from further ahead is not taken
)

// steps are those of the intervals that are kept.
var steps = [...]time.Duration{time.Minute, 15 * time.Minute}

// point is one sample of a device.
type point struct {
	At       int64       `json:"at"` // unix ms
	Power    *flex.Watts `json:"power,omitempty"`
	Exported *int64      `json:"exported,omitempty"` // Wh
	Imported *int64      `json:"imported,omitempty"`
}

// counts tells whether both counters are there.
func (p point) counts() bool { return p.Exported != nil && p.Imported != nil }

// net is what the counters say went to the grid in all, Ws.
func (p point) net() int64 { return (*p.Exported - *p.Imported) * 3600 }

// tally gathers one interval of one device.
type tally struct {
	Start   int64 `json:"start"`             // unix ms
	Energy  int64 `json:"energy,omitempty"`  // measured, twice W·ms
	Seen    int64 `json:"seen,omitempty"`    // ms of it
	Count   int64 `json:"count,omitempty"`   // by the counters, Ws
	Counted int64 `json:"counted,omitempty"` // ms for which they are known
	Bridged int64 `json:"bridged,omitempty"` // ms of these that lie in gaps
}

// source is what is known of one device: plain data, so that a restart in the
// middle of an interval costs nothing but the time it took.
type source struct {
	Last  *point `json:"last,omitempty"`
	Grain int64  `json:"grain,omitempty"` // Ws, the smallest step of a counter that was seen
	// Agreed tells that the counters last agreed with power that was measured
	// throughout: only then are they believed where it was not. Judged tells
	// that they were compared at all.
	Judged bool    `json:"judged,omitempty"`
	Agreed bool    `json:"agreed,omitempty"`
	Open   []tally `json:"open"` // of both steps, by Start
	Step   []int   `json:"step"` // index into steps, beside Open
}

// add takes one sample. What is not newer than the last one is not taken; a
// last one from ahead of now belongs to a clock that was set back, and goes.
func (s *source) add(p point, now int64) {
	if p.At > now+aheadMax.Milliseconds() || p.At < now-gapAfter.Milliseconds() {
		return
	}
	last := s.Last
	if last != nil && last.At > now+aheadMax.Milliseconds() {
		s.forget(now)
		last = nil
	}
	if last != nil && p.At <= last.At {
		return
	}
	s.Last = &p
	if last == nil || p.At-last.At > bridgeMax.Milliseconds() {
		return
	}
	counted := s.counted(last, &p)
	for n := range steps {
		s.spread(n, last, &p, counted)
	}
}

// forget drops what was gathered for times that have not come.
func (s *source) forget(now int64) {
	s.Last = nil
	var open []tally
	var step []int
	for i, t := range s.Open {
		if t.Start <= now {
			open, step = append(open, t), append(step, s.Step[i])
		}
	}
	s.Open, s.Step = open, step
}

// counted tells whether the counters say what went on between two samples, and
// learns how fine they are.
func (s *source) counted(a, b *point) bool {
	if !a.counts() || !b.counts() || *b.Exported < *a.Exported || *b.Imported < *a.Imported {
		return false // a reset, or a counter that began anew at its end
	}
	for _, step := range []int64{*b.Exported - *a.Exported, *b.Imported - *a.Imported} {
		if step > maxCount {
			return false
		}
		if step *= 3600; step > 0 && (s.Grain == 0 || step < s.Grain) {
			s.Grain = step
		}
	}
	return true
}

// pointOf takes from a reading what counts here; what no site can show is left
// out. Counters are those of meters: an inverter counts one way only, or on the
// other side of its battery.
func pointOf(r flex.Reading, meter bool) point {
	p := point{At: r.At.UnixMilli()}
	if r.Power != nil && r.Power.Abs() <= flex.MaxPower {
		w := *r.Power
		p.Power = &w
	}
	if e, i := r.ExportedWh, r.ImportedWh; meter && e != nil && i != nil && *e >= 0 && *i >= 0 && *e <= maxReading && *i <= maxReading {
		out, in := int64(*e), int64(*i)
		p.Exported, p.Imported = &out, &in
	}
	return p
}

// maxReading is what no counter reaches, Wh: the largest site for ten years.
const maxReading = flex.WattHours(flex.MaxPower) * 24 * 365 * 10

// maxCount is more than any site exchanges in two hours, Wh.
const maxCount = int64(flex.MaxPower) * 2

// spread gives what lies between two samples to the intervals it lies in.
func (s *source) spread(n int, a, b *point, counted bool) {
	step, dt := steps[n].Milliseconds(), b.At-a.At
	measured := dt <= gapAfter.Milliseconds() && a.Power != nil && b.Power != nil
	if !measured && !counted {
		return
	}
	power := func(at int64) int64 {
		return int64(*a.Power) + flex.RoundDiv((int64(*b.Power)-int64(*a.Power))*(at-a.At), dt)
	}
	count := func(at int64) int64 { return share(b.net()-a.net(), at-a.At, dt) }
	for from := a.At; from < b.At; {
		start := from - mod(from, step)
		to := min(start+step, b.At)
		t := s.at(n, start)
		if measured {
			t.Energy += (power(from) + power(to)) * (to - from)
			t.Seen += to - from
		}
		if counted {
			t.Count += count(to) - count(from)
			t.Counted += to - from
			if !measured {
				t.Bridged += to - from
			}
		}
		from = to
	}
}

// share is x·part/whole without overflow, for parts and wholes of hours.
func share(x, part, whole int64) int64 {
	q, r := x/whole, x%whole
	return q*part + r*part/whole
}

func mod(a, b int64) int64 { return ((a % b) + b) % b }

// mostOpen bounds the intervals of one device that are not closed: a day.
const mostOpen = 24 * 64

// at finds the tally of an interval, or begins it. The newest are looked at
// first.
func (s *source) at(n int, start int64) *tally {
	i := len(s.Open)
	for ; i > 0; i-- {
		if t := &s.Open[i-1]; t.Start < start || t.Start == start && s.Step[i-1] <= n {
			if t.Start == start && s.Step[i-1] == n {
				return t
			}
			break
		}
	}
	if len(s.Open) >= mostOpen {
		s.Open, s.Step, i = s.Open[1:], s.Step[1:], max(0, i-1)
	}
	s.Open = append(s.Open, tally{})
	copy(s.Open[i+1:], s.Open[i:])
	s.Step = append(s.Step, 0)
	copy(s.Step[i+1:], s.Step[i:])
	s.Open[i], s.Step[i] = tally{Start: start}, n
	return &s.Open[i]
}

// take removes the tally of an interval.
func (s *source) take(n int, start int64) (t tally, ok bool) {
	for i := range s.Open {
		if s.Open[i].Start == start && s.Step[i] == n {
			t = s.Open[i]
			s.Open = append(s.Open[:i:i], s.Open[i+1:]...)
			s.Step = append(s.Step[:i:i], s.Step[i+1:]...)
			return t, true
		}
	}
	return t, false
}

// close makes an interval of what was gathered for it; false when nothing is
// known of it.
func (s *source) close(n int, start int64) (flex.Interval, bool) {
	t, ok := s.take(n, start)
	if !ok {
		return flex.Interval{}, false
	}
	full := steps[n].Milliseconds()
	if (full-t.Seen)*100 <= full && t.Counted == full && s.Grain > 0 && s.Grain <= max(t.Count, -t.Count)/100 {
		s.Judged, s.Agreed = true, t.agrees(flex.RoundDiv(t.Energy, 2000), s.Grain)
	}
	return t.close(steps[n], s.Grain, s.Agreed)
}

func (t tally) close(step time.Duration, grain int64, agreed bool) (flex.Interval, bool) {
	full := step.Milliseconds()
	out := flex.Interval{Start: time.UnixMilli(t.Start).UTC(), Step: step, Seen: time.Duration(t.Seen) * time.Millisecond, Quality: flex.QualityEstimated}
	missing := full - t.Seen
	if t.Seen > 0 {
		scaled := t.Energy
		if missing > 0 {
			scaled = share(t.Energy, full, t.Seen)
		}
		out.Energy = flex.RoundDiv(scaled, 2000)
	}
	if missing*100 <= full {
		out.Quality = flex.QualityPower
	}
	if !agreed || !t.believed(full, missing, grain) {
		return out, t.Seen > 0
	}
	out.Energy, out.Quality = t.Count, flex.QualityCounter
	if t.Bridged*100 > full {
		out.Quality = flex.QualityEstimated
	}
	return out, true
}

// believed tells whether the counters know better than measured power: they are
// known throughout, and their steps are small against the energy (a hundredth,
// or the part that was not measured).
func (t tally) believed(full, missing, grain int64) bool {
	return t.Counted == full && grain > 0 && grain <= share(max(t.Count, -t.Count), max(full/100, missing), full)
}

// agrees tells whether the counters say what was measured, Ws, by a tenth.
func (t tally) agrees(measured, grain int64) bool {
	return max(t.Count-measured, measured-t.Count) <= max(t.Count, -t.Count)/10+2*grain
}
