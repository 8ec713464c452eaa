package control

import (
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// mostHeld is for how long a measured power is taken to go on.
const mostHeld = 5 * time.Second

// tally counts the energy of one asset within one dispatch.
type tally struct {
	account                    int64
	asked, given, unread, time float64 // watt-seconds, seconds
	by                         string
}

// stretch is what was asked of an asset at the last cycle and what it gave: it
// counts until the next one.
type stretch struct {
	at    time.Time
	given flex.Watts
	read  bool
	by    string
	asked flex.Watts
	parts []part
}

// part is one dispatch's share of a stretch.
type part struct {
	id    flex.InstructionID
	share flex.Watts
	until time.Time // it asks for nothing from then on; zero: open
}

// tallies are the energy accounts of the dispatches on the board. Only the
// planner's goroutine changes them, with the controller's lock.
type tallies struct {
	last map[flex.AssetID]*stretch
	sums map[flex.InstructionID]map[flex.AssetID]*tally
}

func newTallies() tallies {
	return tallies{last: map[flex.AssetID]*stretch{}, sums: map[flex.InstructionID]map[flex.AssetID]*tally{}}
}

// count closes the asset's last stretch, and begins the next one.
func (c *Controller) count(now time.Time, id flex.AssetID, ds []flex.Dispatch, asked, given flex.Watts, how string, read bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	last := c.energy.last[id]
	if last == nil && len(ds) == 0 {
		return
	}
	if last == nil {
		last = &stretch{}
		c.energy.last[id] = last
	}
	c.energy.add(id, last, now)
	if len(ds) == 0 {
		delete(c.energy.last, id)
		return
	}
	*last = stretch{at: now, given: given, read: read, by: how, asked: asked, parts: last.parts[:0]}
	for _, d := range ds {
		p := part{id: d.ID, until: d.Window.End}
		if !d.StopAt.IsZero() && (p.until.IsZero() || d.StopAt.Before(p.until)) {
			p.until = d.StopAt
		}
		for _, sh := range d.Shares {
			if sh.Asset == id {
				p.share += sh.Power
			}
		}
		last.parts = append(last.parts, p)
	}
}

// add counts a stretch that ends now.
func (t *tallies) add(id flex.AssetID, s *stretch, now time.Time) {
	for _, p := range s.parts {
		until := now
		if !p.until.IsZero() && p.until.Before(until) {
			until = p.until
		}
		took := until.Sub(s.at).Seconds()
		if took <= 0 {
			continue
		}
		of := t.sums[p.id]
		if of == nil {
			of = map[flex.AssetID]*tally{}
			t.sums[p.id] = of
		}
		sum := of[id]
		if sum == nil {
			sum = &tally{account: s.at.UnixMilli()}
			of[id] = sum
		}
		sum.time += took
		sum.asked += float64(p.share) * took
		known := 0.0
		if s.read {
			known = min(took, mostHeld.Seconds())
			part := 1.0 // of what is measured
			if s.asked != 0 {
				part = float64(p.share) / float64(s.asked)
			}
			sum.given += float64(s.given) * part * known
			if !strings.Contains(sum.by, s.by) {
				sum.by = s.by
			}
		}
		sum.unread += float64(p.share) * (took - known)
	}
}

// of lists the accounts of one dispatch, by asset.
func (t *tallies) of(id flex.InstructionID) []flex.Energy {
	var out []flex.Energy
	for asset, s := range t.sums[id] {
		out = append(out, flex.Energy{Asset: asset, Account: s.account, Asked: whole(s.asked), Delivered: whole(s.given),
			Unmeasured: whole(s.unread), Followed: flex.InSeconds(time.Duration(s.time * float64(time.Second))), By: s.by})
	}
	slices.SortFunc(out, func(a, b flex.Energy) int { return strings.Compare(string(a.Asset), string(b.Asset)) })
	return out
}

func whole(ws float64) flex.WattSeconds {
	if ws < 0 {
		return flex.WattSeconds(ws - 0.5)
	}
	return flex.WattSeconds(ws + 0.5)
}

// forgetCounted drops the accounts of dispatches that are off the board.
func (c *Controller) forgetCounted(running []flex.Dispatch) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for id := range c.energy.sums {
		if !slices.ContainsFunc(running, func(d flex.Dispatch) bool { return d.ID == id }) {
			delete(c.energy.sums, id)
		}
	}
}
