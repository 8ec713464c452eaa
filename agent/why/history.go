package why

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// What is kept, at most.
const (
	Kept    = 24 * time.Hour
	mostOf  = 20_000           // changes in memory, over all devices
	aliveAt = 10 * time.Minute // how often it is noted that somebody watches
)

// Entry is one change: of a device's target, of what a dispatch misses, or of
// whether anybody watches.
type Entry struct {
	At     time.Time           `json:"at"`
	Begin  bool                `json:"begin,omitempty"` // the process has begun: what was before is over
	Alive  bool                `json:"alive,omitempty"` // it still watches
	Target *flex.Target        `json:"target,omitempty"`
	Of     flex.InstructionID  `json:"of,omitempty"`
	Short  *allocate.Shortfall `json:"short,omitempty"` // of the dispatch; nil with Of: nothing is missing
}

// Answer is what was in force at an instant.
type Answer struct {
	At      time.Time                                 `json:"at"`
	Running bool                                      `json:"running"`       // somebody watched then
	Seen    time.Time                                 `json:"seen,omitzero"` // else: last before it
	Targets map[flex.DeviceID]Standing                `json:"targets"`
	Short   map[flex.InstructionID]allocate.Shortfall `json:"short,omitempty"`
	Oldest  time.Time                                 `json:"oldest,omitzero"` // that is kept
}

// Standing is a target and since when it is as it is.
type Standing struct {
	Target flex.Target `json:"target"`
	Since  time.Time   `json:"since"`
}

// History is safe for concurrent use.
type History struct {
	mu      sync.Mutex
	entries []Entry
	now     map[flex.DeviceID]flex.Target
	short   map[flex.InstructionID]allocate.Shortfall
	unsaved []Entry
	alive   time.Time
}

// New makes a history that begins at an instant, behind what an earlier
// process has kept.
func New(old []Entry, at time.Time) *History {
	h := &History{now: map[flex.DeviceID]flex.Target{}, short: map[flex.InstructionID]allocate.Shortfall{}}
	slices.SortStableFunc(old, func(a, b Entry) int { return a.At.Compare(b.At) })
	h.entries = append(h.entries, old...)
	h.add(Entry{At: at, Begin: true})
	return h
}

// Note takes the planner's answer of an instant. Watts that waver are kept
// once a second, as control asks.
func (h *History) Note(at time.Time, p allocate.Plan) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range p.Targets {
		if old, known := h.now[t.Device]; known && alike(old, t) {
			continue
		}
		h.now[t.Device] = t
		h.add(Entry{At: at, Target: &t})
	}
	for id, s := range p.Shortfall {
		if old, known := h.short[id]; known && old.Reason == s.Reason && (old.Missing-s.Missing).Abs() < 100 {
			continue
		}
		h.short[id] = s
		h.add(Entry{At: at, Of: id, Short: &s})
	}
	for id := range h.short {
		if _, still := p.Shortfall[id]; !still {
			delete(h.short, id)
			h.add(Entry{At: at, Of: id})
		}
	}
	if age := at.Sub(h.alive); age >= aliveAt || age < 0 {
		h.alive = at
		h.add(Entry{At: at, Alive: true})
	}
}

// alike tells whether two targets ask for the same for the same reasons. The
// numbers in the reasons waver with every reading and count for nothing.
func alike(a, b flex.Target) bool {
	return a.Order == b.Order && a.Power == b.Power && a.Observe == b.Observe && a.Until.Equal(b.Until) && slices.Equal(a.Dispatch, b.Dispatch) &&
		slices.EqualFunc(a.Whys, b.Whys, func(x, y flex.Why) bool { return x.Who == y.Who })
}

// add keeps an entry, and lets go of what is too old or too much; mu is held,
// but for New.
func (h *History) add(e Entry) {
	h.entries = append(h.entries, e)
	h.unsaved = append(h.unsaved, e)
	if len(h.unsaved) > mostOf {
		h.unsaved = h.unsaved[len(h.unsaved)-mostOf:]
	}
	quarter := len(h.entries) / 4 // at a time, so that it costs next to nothing
	if len(h.entries) > mostOf || quarter > 0 && e.At.Sub(h.entries[quarter].At) > Kept+time.Hour {
		h.entries = slices.Clone(h.entries[max(1, quarter):])
	}
}

// At is what was in force at an instant.
func (h *History) At(at time.Time) Answer {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := Answer{At: at, Targets: map[flex.DeviceID]Standing{}, Short: map[flex.InstructionID]allocate.Shortfall{}}
	if len(h.entries) > 0 {
		a.Oldest = h.entries[0].At
	}
	last := h.until(at)
	for _, e := range h.entries[:last] {
		a.Seen = e.At
		switch {
		case e.Begin:
			a.Running = true
			clear(a.Targets)
			clear(a.Short)
		case e.Target != nil:
			s := Standing{Target: *e.Target, Since: e.At}
			if was, known := a.Targets[e.Target.Device]; known && was.Target.Order == e.Target.Order && was.Target.Power == e.Target.Power {
				s.Since = was.Since
			}
			a.Targets[e.Target.Device] = s
		case e.Of != "" && e.Short != nil:
			a.Short[e.Of] = *e.Short
		case e.Of != "":
			delete(a.Short, e.Of)
		}
	}
	switch {
	case last == len(h.entries) && a.Running:
		a.Seen = at
	case last < len(h.entries) && h.entries[last].Begin: // nobody watched any more, or it cannot be told
		a.Running = at.Sub(a.Seen) < aliveAt && a.Running
	}
	return a
}

// until counts the entries up to the latest that is not after the instant.
// They come in the order of what happened, which is not that of their times
// where the wall clock was stepped back.
func (h *History) until(at time.Time) int {
	n := len(h.entries)
	for n > 0 && h.entries[n-1].At.After(at) {
		n--
	}
	return n
}

// take gives what is not saved yet; it counts as saved.
func (h *History) take() []Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := h.unsaved
	h.unsaved = nil
	return out
}

// putBack is for what could not be saved.
func (h *History) putBack(list []Entry) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.unsaved = append(list, h.unsaved...)
	h.unsaved = h.unsaved[max(0, len(h.unsaved)-mostOf):]
}

// Devices are those of an answer, in order.
func (a Answer) Devices() []flex.DeviceID {
	return slices.SortedFunc(maps.Keys(a.Targets), cmp.Compare)
}
