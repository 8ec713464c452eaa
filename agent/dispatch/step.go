package dispatch

import (
	"fmt"
	"slices"

	"flexd/agent/flex"
)

// recordVersion is written into every record.
const recordVersion = 1

// Event asks for one transition. Fact is the time of the fact, which may lie
// well before the time at which it is noticed.
type Event struct {
	To     flex.State
	Fact   flex.Stamp
	Reason flex.Reason
	Text   string
}

// allowed is the table of transitions. The empty state is that of an
// instruction not seen before, or of one that begins a new life by a new
// revision. Scheduled to scheduled, active to active and active back to
// scheduled are revisions.
func allowed(from flex.State) []flex.State {
	switch from {
	case "":
		return []flex.State{flex.Waiting, flex.Admitted, flex.Refused}
	case flex.Waiting:
		return []flex.State{flex.Cancelled, flex.Stopped} // judged again, it begins anew
	case flex.Admitted:
		return []flex.State{flex.Pending, flex.Scheduled, flex.Cancelled, flex.Expired, flex.Superseded}
	case flex.Pending:
		return []flex.State{flex.Pending, flex.Accepted, flex.Refused, flex.Cancelled, flex.Expired, flex.Superseded}
	case flex.Accepted:
		return []flex.State{flex.Pending, flex.Scheduled, flex.Cancelled, flex.Expired, flex.Superseded}
	case flex.Scheduled:
		return []flex.State{flex.Scheduled, flex.Active, flex.Cancelled, flex.Stopped, flex.Expired, flex.Superseded}
	case flex.Active:
		return []flex.State{flex.Active, flex.Scheduled, flex.Completed, flex.Stopped, flex.Superseded}
	case flex.Completed, flex.Refused, flex.Expired, flex.Cancelled, flex.Stopped, flex.Superseded:
		return nil
	}
	return nil
}

// Step makes one transition, or tells that the table has none. The record
// that it is given stays as it was.
func Step(rec flex.Record, ev Event) (flex.Record, error) {
	if !slices.Contains(allowed(rec.State), ev.To) {
		return rec, fmt.Errorf("instruction %s: no transition from %q to %q", rec.ID, rec.State, ev.To)
	}
	rec.State, rec.Reason, rec.Text = ev.To, ev.Reason, ev.Text
	rec.Steps = append(slices.Clone(rec.Steps), flex.Transition{State: ev.To, Fact: ev.Fact, Reason: ev.Reason, Text: ev.Text})
	return rec, nil
}
