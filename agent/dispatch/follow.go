package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// releaseGrace is how long a release may take before it counts as owed, beyond
// what the device's own pace costs. It takes well under a second where the
// device answers at once.
const releaseGrace = 2 * time.Second

// mostLead is how early a device may be told of a dispatch.
const mostLead = 30 * time.Second

// over tells whether the record asks for nothing any more at now.
func over(rec flex.Record, now time.Time) bool { return !now.Before(endsAt(rec)) }

func endsAt(rec flex.Record) time.Time { return rec.Ends() }

// Follow turns what control has seen into the record's next state and
// conditions. known tells whether control knows the dispatch at all. It is
// level-triggered: called again with the same facts it changes nothing.
func Follow(rec flex.Record, p flex.Progress, known bool, now flex.Stamp) (flex.Record, error) {
	var err error
	if rec.State == flex.Pending {
		return followPending(rec, now)
	}
	if rec.State == flex.Admitted || rec.State == flex.Accepted {
		if rec, err = Step(rec, Event{To: flex.Scheduled, Fact: now}); err != nil {
			return rec, err
		}
	}
	rec = gatherFacts(rec, p)
	switch rec.State {
	case flex.Scheduled:
		return followScheduled(rec, p, known, now)
	case flex.Active:
		return followActive(rec, p, known, now)
	case flex.Waiting, flex.Admitted, flex.Pending, flex.Accepted, flex.Completed, flex.Refused, flex.Expired, flex.Cancelled, flex.Stopped, flex.Superseded:
	}
	return rec, nil
}

// followPending ends what was stopped, or overtaken, before it was answered.
func followPending(rec flex.Record, now flex.Stamp) (flex.Record, error) {
	switch {
	case ended(&rec):
		return Step(rec, Event{To: flex.Cancelled, Fact: at(now, rec.StopAt), Reason: rec.StopReason, Text: stopText(rec)})
	case !rec.StopAt.IsZero() && over(rec, now.At):
		return Step(rec, Event{To: flex.Superseded, Fact: at(now, rec.StopAt), Reason: rec.StopReason, Text: stopText(rec)})
	}
	return rec, nil
}

// gatherFacts keeps the first time of each fact. A slow device is told ahead of
// the start; facts from longer before belong to an earlier life of the same id.
func gatherFacts(rec flex.Record, p flex.Progress) flex.Record {
	for _, f := range []struct {
		to   *time.Time
		seen time.Time
	}{{&rec.FirstWrite, p.FirstWrite}, {&rec.EchoAt, p.EchoAt}, {&rec.ActingAt, p.ActingAt}, {&rec.DeliverAt, p.DeliverAt}} {
		if f.to.IsZero() && !f.seen.Before(rec.Window.Start.Add(-mostLead)) && !f.seen.IsZero() {
			*f.to = f.seen
		}
	}
	return rec.Counted(p.Energy)
}

func followScheduled(rec flex.Record, p flex.Progress, known bool, now flex.Stamp) (flex.Record, error) {
	ended := over(rec, now.At)
	beforeStart := !rec.StopAt.IsZero() && !rec.StopAt.After(rec.Window.Start)
	switch {
	case beforeStart && ended && !p.Engaged:
		to := flex.Cancelled
		if rec.StopReason == flex.ReasonSuperseded {
			to = flex.Superseded
		}
		return Step(rec, Event{To: to, Fact: at(now, rec.StopAt), Reason: rec.StopReason, Text: stopText(rec)})
	case now.At.Before(rec.Window.Start):
		return rec, nil
	case !rec.EchoAt.IsZero():
		since := rec.EchoAt
		if since.Before(rec.Window.Start) {
			since = rec.Window.Start
		}
		rec, err := Step(rec, Event{To: flex.Active, Fact: at(now, since), Text: "every device has taken its setpoint"})
		if err != nil {
			return rec, err
		}
		return followActive(rec, p, known, now)
	case known && p.Observed && !ended:
		rec, err := Step(rec, Event{To: flex.Active, Fact: at(now, rec.Window.Start), Text: "observed only: nothing is written"})
		if err != nil {
			return rec, err
		}
		return followActive(rec.With(flex.Observed, true), p, known, now)
	case !ended:
		return conditions(rec, p), nil
	case p.Engaged && !p.Released:
		return owed(rec, p.HandBack, now), nil
	}
	rec = rec.With(flex.ReleaseOwed, false)
	if !rec.StopAt.IsZero() && !rec.StopAt.After(rec.Window.End) {
		return closeStopped(rec, at(now, rec.StopAt))
	}
	reason, text := whyNever(rec, p)
	return Step(rec, Event{To: flex.Expired, Fact: at(now, rec.Window.End), Reason: reason, Text: text})
}

// whyNever explains a window that passed without a setpoint in force. What
// stood against it is often out of sight by then: control plans nothing behind
// the end, so what was told within the window counts.
func whyNever(rec flex.Record, p flex.Progress) (flex.Reason, string) {
	switch {
	case rec.Has(flex.Overridden) && rec.Reason == flex.ReasonOutranked:
		return rec.Reason, "the window passed while another had the asset: " + rec.Text
	case p.Overridden:
		return flex.ReasonLocalHold, "the site was on hold"
	case len(p.Yielded) > 0:
		return flex.ReasonOverridden, fmt.Sprintf("others write to %v, which is left to them", p.Yielded)
	case p.MissingReason != "":
		return p.MissingReason, p.MissingText
	case rec.Has(flex.Partial) && rec.Text != "":
		return rec.Reason, rec.Text
	case len(p.Failed) > 0:
		return flex.ReasonDeviceUnavailable, fmt.Sprintf("no setpoint was taken by %v", p.Failed)
	}
	return flex.ReasonDeviceUnavailable, "the window passed without a setpoint in force"
}

func followActive(rec flex.Record, p flex.Progress, known bool, now flex.Stamp) (flex.Record, error) {
	if !over(rec, now.At) {
		return conditions(rec, p), nil
	}
	if !known || !p.Released {
		return owed(rec, p.HandBack, now), nil
	}
	rec = rec.With(flex.ReleaseOwed, false)
	end := endsAt(rec)
	rec.ReleasedAt = end
	if p.ReleasedAt.After(end) {
		rec.ReleasedAt = p.ReleasedAt
	}
	fact := at(now, rec.ReleasedAt)
	if !rec.StopAt.IsZero() && rec.StopAt.Equal(end) {
		return closeStopped(rec, fact)
	}
	return Step(rec, Event{To: flex.Completed, Fact: fact, Text: handedBack(p)})
}

// handedBack says of the devices what was seen: what others had changed was
// left to them, and is free of us without being as it was found.
func handedBack(p flex.Progress) string {
	if len(p.Left) == 0 {
		return "the window is over and every device is handed back"
	}
	return "the window is over; left as others have set it, and not put back: " + strings.Join(p.Left, "; ")
}

// meanwhile is for how long each condition of a closed record held, so that the final word is no
// better than what was said on the way.
func meanwhile(rec flex.Record) string {
	var out strings.Builder
	for _, c := range []flex.Condition{flex.Overridden, flex.DeviceFailed, flex.NotDelivering, flex.Partial} {
		var sum time.Duration
		seen := false
		for _, s := range rec.History {
			if s.Condition != c {
				continue
			}
			seen = true
			sum += s.To.Sub(s.From)
		}
		length := "a moment"
		if sum >= time.Second/2 {
			length = max(time.Second, sum.Round(time.Second)).String()
		}
		if seen {
			fmt.Fprintf(&out, "; %s for %s", strings.ReplaceAll(string(c), "_", " "), length)
		}
	}
	return out.String()
}

// closeStopped ends a stopped record in the word for its stop.
func closeStopped(rec flex.Record, fact flex.Stamp) (flex.Record, error) {
	to := flex.Stopped
	if rec.StopReason == flex.ReasonSuperseded {
		to = flex.Superseded
	}
	return Step(rec, Event{To: to, Fact: fact, Reason: rec.StopReason, Text: stopText(rec)})
}

func stopText(rec flex.Record) string {
	switch why := rec.StopReason; {
	case why == flex.ReasonSuperseded:
		return fmt.Sprintf("superseded by %s", rec.StopBy)
	case why == flex.ReasonStoppedLocal:
		return "stopped at the site"
	case why == flex.ReasonStatus:
		return "withdrawn by the operator"
	}
	return "stopped by the operator"
}

// owed marks a release that is due and not proven, after the time that a
// release may take where one takes so long by the device's own pace.
func owed(rec flex.Record, pace time.Duration, now flex.Stamp) flex.Record {
	if now.At.Sub(endsAt(rec)) < releaseGrace+pace {
		return rec
	}
	return rec.With(flex.ReleaseOwed, true)
}

// conditions follows what control reports while the window is open.
func conditions(rec flex.Record, p flex.Progress) flex.Record {
	for _, c := range []struct {
		name flex.Condition
		on   bool
	}{
		{flex.Partial, p.Missing > 0 || len(rec.Withheld) > 0},
		{flex.Overridden, p.Overridden || len(p.Yielded) > 0},
		{flex.NotDelivering, p.Delivering != nil && !*p.Delivering},
		{flex.DeviceFailed, len(p.Failed) > 0},
	} {
		if rec.Has(c.name) != c.on {
			rec = rec.With(c.name, c.on)
		}
	}
	rec.Reason, rec.Text = "", ""
	switch {
	case p.Missing > 0:
		rec.Reason, rec.Text = p.MissingReason, p.MissingText
	case p.Outranked != "":
		rec.Reason, rec.Text = flex.ReasonOutranked, fmt.Sprintf("it waits for instruction %s, which has a higher priority", p.Outranked)
	case len(p.Yielded) > 0:
		rec.Reason, rec.Text = flex.ReasonOverridden, fmt.Sprintf("others write to %v, which is left to them", p.Yielded)
	case len(rec.Withheld) > 0:
		rec.Reason, rec.Text = flex.ReasonUnavailable, withheldText(rec.Withheld)
	}
	return rec
}

// at is now's clock with the time of a fact.
func at(now flex.Stamp, fact time.Time) flex.Stamp {
	if !fact.IsZero() && fact.Before(now.At) && now.Since > 0 {
		now.Since -= min(now.Since, now.At.Sub(fact))
	}
	if !fact.IsZero() {
		now.At = fact
	}
	return now
}

// sameConditions compares what is announced of a record.
func sameConditions(a, b flex.Record) bool { return slices.Equal(a.Conditions, b.Conditions) }
