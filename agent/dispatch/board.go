package dispatch

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// soonEnough is how far ahead control has to know of a dispatch at once.
const soonEnough = 5 * time.Minute

// memory bounds how many stops of unknown targets the Board remembers until
// the Engine has stored them.
const memory = 4096

// Board is what control must carry out, in memory. It does not wait for the
// disk nor for the Engine: a stop or a hold is on it before the call returns.
// It is safe for concurrent use.
type Board struct {
	mu       sync.Mutex
	entries  map[flex.InstructionID]entry
	stops    []early
	holds    map[flex.AssetID]flex.Hold
	failing  bool
	carried  func(flex.InstructionID) bool // a stop for everything that was carried out before
	wall     Wall                          // nil: nobody steps the clock
	onChange []func()
}

// entry is a dispatch with what a stop without a target needs.
type entry struct {
	course
	obligation flex.ObligationID
}

// early is a stop that acts already and is not decided yet.
type early struct {
	by     flex.InstructionID // the stop that asked for it
	target flex.InstructionID
	at     time.Time
}

// NewBoard is empty: control has nothing to do.
func NewBoard() *Board {
	return &Board{entries: map[flex.InstructionID]entry{}, holds: map[flex.AssetID]flex.Hold{}}
}

// OnChange adds a wake-up that is called after every change, without a lock
// held. It must not block.
func (b *Board) OnChange(fn func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.onChange = append(b.onChange, fn)
}

// Running are the dispatches that are scheduled or active, stops applied, by
// id, in the steady time that control goes by.
func (b *Board) Running() []flex.Dispatch {
	out, ahead := b.present()
	for i := range out {
		out[i] = out[i].Put(-ahead)
	}
	return out
}

// Present is Running in what the wall clock shows now.
func (b *Board) Present() []flex.Dispatch {
	out, _ := b.present()
	return out
}

// present also tells how far the wall clock is ahead of the steady time.
func (b *Board) present() ([]flex.Dispatch, time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, ahead := b.now()
	out := make([]flex.Dispatch, 0, len(b.entries))
	for id := range b.entries {
		d := b.entryAt(id, now)
		for _, s := range b.stops {
			if s.target == d.ID {
				d.StopAt = earliest(d.StopAt, earliest(s.at, now.At)) // a stop that was received is none of the future
			}
		}
		d.Shares = slices.Clone(d.Shares)
		out = append(out, d)
	}
	slices.SortFunc(out, func(x, y flex.Dispatch) int { return cmp.Compare(x.ID, y.ID) })
	return out, ahead
}

// entryAt keeps the course of an entry, and gives the dispatch as of now. It
// ends where the one that supersedes it has begun, whatever became of the clock
// since the two were told apart by it; b.mu is held.
func (b *Board) entryAt(id flex.InstructionID, now flex.Stamp) flex.Dispatch {
	e := b.entries[id]
	var d flex.Dispatch
	e.course, d = e.at(now)
	b.entries[id] = e
	heir, ok := b.entries[e.heir]
	if !ok || e.heir == id {
		return d
	}
	if heir.course, _ = heir.at(now); heir.begun.Boot != "" && heir.begun.At.Before(d.StopAt) {
		d.StopAt = heir.begun.At
	}
	return d
}

// now reads the clock; b.mu is held.
func (b *Board) now() (flex.Stamp, time.Duration) {
	if b.wall == nil {
		return flex.Stamp{At: time.Now().UTC(), Clock: flex.ClockHoldover}, 0
	}
	return b.wall.Both()
}

// on gives the record as it stands at now: begun, and told in what the wall
// clock shows.
func (b *Board) on(r flex.Record, now flex.Stamp) flex.Record {
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.entries[r.ID]; !ok {
		return r
	}
	d := b.entryAt(r.ID, now)
	e := b.entries[r.ID]
	if e.dispatch = d; e.same(r) {
		return r
	}
	return e.onto(r)
}

// Holds are the local orders in force, by asset.
func (b *Board) Holds() []flex.Hold {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := slices.Collect(maps.Values(b.holds))
	slices.SortFunc(out, func(x, y flex.Hold) int { return cmp.Compare(x.Asset, y.Asset) })
	return out
}

// StoreFailing tells that decisions cannot be stored at present.
func (b *Board) StoreFailing() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failing
}

// StopNow lets a stop act at once, before it is stored. A target that is not
// known yet is remembered: its start, when it comes, finds itself stopped.
// Anything that is not a stop is ignored.
func (b *Board) StopNow(in flex.Instruction, at time.Time) {
	if !in.IsStop() {
		return
	}
	carried := b.carriedOut(in)
	b.change(func() bool {
		aims := append([]flex.InstructionID{in.ID}, in.Stops...)
		if _, own := b.entries[in.ID]; !own && unaimed(in) && !carried {
			now, _ := b.now()
			for id, e := range b.entries {
				d := b.entryAt(id, now)
				w := flex.Window{Start: d.Window.Start, End: earliest(d.Window.End, d.StopAt)}
				if meant(in, e.obligation, d.Shares) && meets(in, w, now.At) {
					aims = append(aims, id)
				}
			}
		}
		fresh := false
		for _, id := range aims {
			fresh = b.remember(early{by: in.ID, target: id, at: at}) || fresh
		}
		return fresh
	})
}

// carriedOut asks, without the lock, whether an unaimed stop is a repetition.
func (b *Board) carriedOut(in flex.Instruction) bool {
	b.mu.Lock()
	fn := b.carried
	b.mu.Unlock()
	return fn != nil && unaimed(in) && fn(in.ID)
}

// remember keeps the first instant of each stop and target, and tells whether
// it is news; b.mu is held.
func (b *Board) remember(s early) bool {
	known := slices.ContainsFunc(b.stops, func(o early) bool { return o.by == s.by && o.target == s.target })
	if known {
		return false
	}
	if len(b.stops) >= memory {
		b.stops = slices.Delete(b.stops, 0, 1)
	}
	b.stops = append(b.stops, s)
	return true
}

// settle forgets the early stops of one instruction: what it meant is in the
// records now.
func (b *Board) settle(by flex.InstructionID) {
	b.change(func() bool {
		n := len(b.stops)
		b.stops = slices.DeleteFunc(b.stops, func(s early) bool { return s.by == by })
		return len(b.stops) != n
	})
}

// halt is a stop by a person at the site.
func (b *Board) halt(id, by flex.InstructionID, at time.Time) {
	b.change(func() bool { return b.remember(early{by: by, target: id, at: at}) })
}

// Hold puts a local order in force.
func (b *Board) Hold(h flex.Hold) {
	b.change(func() bool { b.holds[h.Asset] = h; return true })
}

// Lift ends a local order.
func (b *Board) Lift(asset flex.AssetID) {
	b.change(func() bool { delete(b.holds, asset); return true })
}

// put shows records as they are stored now.
func (b *Board) put(recs ...flex.Record) {
	b.change(func() bool {
		fresh := false
		now, _ := b.now()
		for _, r := range recs {
			old, shown := b.entries[r.ID]
			if r.State != flex.Scheduled && r.State != flex.Active {
				delete(b.entries, r.ID)
				fresh = fresh || shown
				continue
			}
			e := entry{course: courseOf(r), obligation: r.Obligation}
			e.follow(old.course)
			b.entries[r.ID] = e
			// Control looks every second anyway: thousands for other days
			// need not wake it one by one.
			soon := r.Window.Start.Sub(now.At) < soonEnough || shown && old.dispatch.Window.Start.Sub(now.At) < soonEnough
			fresh = fresh || soon && (!shown || !e.alike(old))
		}
		return fresh
	})
}

func (e entry) alike(o entry) bool {
	d, x := e.dispatch, o.dispatch
	return e.obligation == o.obligation && d.ID == x.ID && d.Revision == x.Revision && slices.Equal(d.Shares, x.Shares) &&
		d.Window.Start.Equal(x.Window.Start) && d.Window.End.Equal(x.Window.End) && d.StopAt.Equal(x.StopAt)
}

// drop takes a record off, as long as nobody can say whether it should run.
func (b *Board) drop(id flex.InstructionID) {
	b.change(func() bool {
		_, shown := b.entries[id]
		delete(b.entries, id)
		return shown
	})
}

func (b *Board) setFailing(on bool) bool {
	var was bool
	b.change(func() bool { was, b.failing = b.failing, on; return was != on })
	return was
}

// change runs fn under the lock and, when it tells that something is
// different, wakes whoever wants to know.
func (b *Board) change(fn func() bool) {
	b.mu.Lock()
	var wake []func()
	if fn() {
		wake = slices.Clone(b.onChange)
	}
	b.mu.Unlock()
	for _, w := range wake {
		w()
	}
}
