package dispatch

import (
	"time"

	"flexd/agent/flex"
)

// A dispatch that has begun goes by the time since boot: whoever steps the
// wall clock moves neither its end nor its beginning. Its window is told in
// what the wall clock shows now, so that everything else can go on to compare
// instants; what moves is the window, by as much as the wall clock.

// leastStep is from when on a move of the wall clock against the time since
// boot counts; a smaller one is followed.
const leastStep = 100 * time.Millisecond

// course is a dispatch's window and by what it goes.
type course struct {
	dispatch flex.Dispatch
	begun    flex.Stamp         // zero: it has not begun, and goes by the wall clock
	good     flex.Stamp         // the latest good clock that it is known by
	heir     flex.InstructionID // its StopAt is where this one begins; "" for none
}

// courseOf reads it from a record.
func courseOf(r flex.Record) course {
	c := course{dispatch: r.Dispatch(), begun: r.Begun, good: lastGood(r)}
	if r.StopReason == flex.ReasonSuperseded {
		c.heir = r.StopBy
	}
	return c
}

// lastGood is the record's last step by a clock that was not known to be wrong.
func lastGood(r flex.Record) flex.Stamp {
	for i := len(r.Steps) - 1; i >= 0; i-- {
		if f := r.Steps[i].Fact; f.Clock != flex.ClockUntrusted {
			return f
		}
	}
	return flex.Stamp{}
}

// stepSince is how far the wall clock was stepped between two stamps of one
// boot; other is true where they are of two, or the boot is not known.
func stepSince(then, now flex.Stamp) (by time.Duration, other bool) {
	if then.Boot == "" || then.Boot != now.Boot || then.Since <= 0 {
		return 0, true
	}
	if by = now.Line().Sub(then.Line()); by.Abs() < leastStep {
		by = 0
	}
	return by, false
}

// follow takes over that the same window has begun already, which its record
// does not know yet.
func (c *course) follow(old course) {
	is, was := c.dispatch.Put(-c.dispatch.Moved).Window, old.dispatch.Put(-old.dispatch.Moved).Window
	if c.begun.Boot != "" || old.begun.Boot == "" || !is.Start.Equal(was.Start) || !is.End.Equal(was.End) {
		return
	}
	c.move(old.dispatch.Moved - c.dispatch.Moved)
	c.begun = old.begun
}

// at gives the course as of now, told in what the wall clock shows now, and
// the dispatch as control is to see it. What has begun is moved with every step
// of the clock; only when a clock that nobody vouched for turns synchronised,
// and shows that it is later, the end comes by that clock. What has not begun
// goes by the wall clock, and while that is known to be wrong by the last good
// one of this boot.
func (c course) at(now flex.Stamp) (course, flex.Dispatch) {
	by, other := stepSince(c.begun, now)
	if other {
		return c.begin(now)
	}
	c.move(by)
	if c.begun.At = c.begun.At.Add(by); c.begun.Clock != flex.ClockSynced && now.Clock == flex.ClockSynced {
		c.begun.Clock = now.Clock
		if w := &c.dispatch.Window; c.dispatch.Moved > 0 {
			c.move(-c.dispatch.Moved)
			if !w.Open() && w.End.Before(now.At) {
				w.End = now.At.Round(0) // it ends now: nobody can end it before
			}
		}
	}
	return c, c.dispatch
}

// begin notes that the window has begun, if it has.
func (c course) begin(now flex.Stamp) (course, flex.Dispatch) {
	c.begun = flex.Stamp{}
	c.move(-c.dispatch.Moved) // of an earlier boot
	moved := c
	if by, other := stepSince(c.good, now); now.Clock == flex.ClockUntrusted && !other {
		moved.move(by)
	}
	if !moved.dispatch.Wants(now.At) {
		return c, moved.dispatch
	}
	moved.begun = now
	moved.begun.At = now.At.Round(0)
	return moved, moved.dispatch
}

// move puts the window off by as much as the wall clock was stepped.
func (c *course) move(by time.Duration) {
	c.dispatch = c.dispatch.Put(by)
	c.dispatch.Moved += by
}

// same tells whether the record is on the course already.
func (c course) same(r flex.Record) bool {
	a, b, d := c.begun, r.Begun, c.dispatch
	return d.Moved == r.Moved && d.StopAt.Equal(r.StopAt) && d.Window.Start.Equal(r.Window.Start) && d.Window.End.Equal(r.Window.End) && a.At.Equal(b.At) && a.Boot == b.Boot && a.Since == b.Since && a.Clock == b.Clock
}

// onto is the record on the course.
func (c course) onto(r flex.Record) flex.Record {
	d, by := c.dispatch, c.dispatch.Moved-r.Moved
	r.Begun, r.Moved, r.Window, r.StopAt, r.Baselines = c.begun, d.Moved, d.Window, d.StopAt, d.Baselines
	return r.Later(by)
}

// retold tells facts in what the wall clock shows now: each was stamped by the
// clock of its time, and is as old as the monotonic clock says.
func retold(p flex.Progress, now flex.Stamp) flex.Progress {
	for _, t := range []*time.Time{&p.FirstWrite, &p.EchoAt, &p.ActingAt, &p.DeliverAt, &p.ReleasedAt} {
		if t.IsZero() {
			continue
		}
		if as := now.At.Round(0).Add(-time.Since(*t)); as.Sub(t.Round(0)).Abs() >= leastStep {
			*t = as
		}
	}
	return p
}

// sinceReceived is when the offer was received, in what the wall clock shows
// now; the zero instant when that is not known.
func sinceReceived(o flex.Offer, now flex.Stamp) flex.Stamp {
	got := o.Received
	by, other := stepSince(got, now)
	if !other && !got.At.IsZero() {
		got.At = got.At.Round(0).Add(by)
	}
	return got
}
