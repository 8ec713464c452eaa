package intake

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Codes of the events about contracts. They are told in the transaction that
// stores what they are about.
const (
	EventObligationNew     = "obligation_new"
	EventObligationChanged = "obligation_changed"
	EventObligationGone    = "obligation_gone"
	EventObligationBack    = "obligation_back"
	// EventObligations stands for all of one synchronisation that brings more
	// than a person would read one by one.
	EventObligations = "obligations_changed"
)

// Bounds of what is told.
const (
	maxContractEvents = 20
	maxEventText      = 500 // bytes
	maxFieldText      = 120
)

// notices are the events that follow from the obligations about to be
// stored, against what was known of them.
func notices(have catalogue, changed []flex.Obligation, now time.Time) []flex.Event {
	var out []flex.Event
	counts := map[string]int{}
	for _, o := range changed {
		was, known := have.obligations[o.ID]
		ev, ok := noticeOf(was, known, o)
		if !ok {
			continue
		}
		ev.Subject, ev.Raised, ev.FactAt, ev.Text = quoted(string(o.ID)), true, now, bounded(clean(ev.Text), maxEventText)
		counts[ev.Code]++
		out = append(out, ev)
	}
	if len(out) <= maxContractEvents {
		return out
	}
	sum := flex.Event{Code: EventObligations, Severity: "info", Raised: true, FactAt: now}
	var parts []string
	for _, k := range []struct{ code, word string }{{EventObligationNew, "new"}, {EventObligationChanged, "changed"},
		{EventObligationGone, "gone"}, {EventObligationBack, "back"}} {
		if n := counts[k.code]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, k.word))
		}
	}
	if counts[EventObligationChanged]+counts[EventObligationGone] > 0 {
		sum.Severity = "warning"
	}
	sum.Text = fmt.Sprintf("%d obligations at once: %s; see `flexd obligations`", len(out), strings.Join(parts, ", "))
	return []flex.Event{sum}
}

// noticeOf tells what has become of one obligation. A change in parts that
// are only kept as they came is stored, and no news.
func noticeOf(was flex.Obligation, known bool, is flex.Obligation) (flex.Event, bool) {
	diff := strings.Join(differences(was, is), "; ")
	switch {
	case !known:
		return flex.Event{Code: EventObligationNew, Severity: "info", Text: "new contract: " + terms(is)}, true
	case was.GoneAt.IsZero() && !is.GoneAt.IsZero():
		return flex.Event{Code: EventObligationGone, Severity: "warning",
			Text: "the market lists it no longer: " + terms(is) + "; what was instructed under it goes on"}, true
	case !was.GoneAt.IsZero() && is.GoneAt.IsZero():
		text := "the market lists it again"
		if diff != "" {
			text += ", changed: " + diff
		}
		return flex.Event{Code: EventObligationBack, Severity: "info", Text: text}, true
	case diff != "":
		return flex.Event{Code: EventObligationChanged, Severity: "warning",
			Text: diff + "; what was instructed before keeps its terms"}, true
	}
	return flex.Event{}, false
}

// terms are the contract in one line.
func terms(o flex.Obligation) string {
	text := fmt.Sprintf("%v %s, %s to %s, %s", o.Capacity, o.Direction, orAny(o.StartDate), orAny(o.EndDate), hours(o))
	if len(o.Assets) > 0 {
		text += ", assets " + list(o.Assets)
	}
	if o.Operator != "" {
		text += ", operator " + quoted(o.Operator)
	}
	return text
}

// differences names each field that flexd reads and that has changed, old and
// new.
func differences(was, is flex.Obligation) []string {
	var out []string
	for _, f := range []struct{ name, old, new string }{
		{"capacity", was.Capacity.String(), is.Capacity.String()},
		{"direction", string(was.Direction), string(is.Direction)},
		{"start date", was.StartDate, is.StartDate},
		{"end date", was.EndDate, is.EndDate},
		{"hours", hours(was), hours(is)},
		{"service days", days(was.Days), days(is.Days)},
		{"bank holidays", yesNo(was.BankHolidays), yesNo(is.BankHolidays)},
		{"region", was.Region, is.Region},
		{"zone", was.Zone, is.Zone},
		{"run time", was.MaxRuntime.String(), is.MaxRuntime.String()},
		{"assets", list(was.Assets), list(is.Assets)},
		{"operator", was.Operator, is.Operator},
		{"competition", string(was.Competition), string(is.Competition)},
		{"bid", was.Bid, is.Bid},
	} {
		if f.old != f.new {
			out = append(out, fmt.Sprintf("%s %s → %s", f.name, quoted(orAny(f.old)), quoted(orAny(f.new))))
		}
	}
	return out
}

// hours are the service hours as clocks show them, to the second.
func hours(o flex.Obligation) string {
	return clockFace(o.StartTime) + " to " + clockFace(o.EndTime)
}

func clockFace(d time.Duration) string {
	s := int64(d / time.Second)
	text := fmt.Sprintf("%02d:%02d", s/3600, s/60%60)
	if s%60 != 0 {
		text += fmt.Sprintf(":%02d", s%60)
	}
	return text
}

func days(ds []time.Weekday) string {
	if len(ds) == 0 {
		return "every day"
	}
	sorted := slices.Clone(ds)
	slices.Sort(sorted)
	parts := make([]string, len(sorted))
	for i, d := range sorted {
		parts[i] = strings.ToLower(d.String()[:3])
	}
	return strings.Join(parts, " ")
}

func yesNo(in bool) string {
	if in {
		return "included"
	}
	return "excluded"
}

// list is a set of ids in order: one that is only listed in another order has
// not changed.
func list(ids []flex.AssetID) string {
	parts := make([]string, len(ids))
	for i, id := range ids {
		parts[i] = string(id)
	}
	slices.Sort(parts)
	return strings.Join(parts, " ")
}

func orAny(s string) string {
	if s == "" {
		return "(none)"
	}
	return s
}

// quoted is a foreign word made harmless and short.
func quoted(s string) string { return bounded(clean(s), maxFieldText) }

// clean keeps foreign words on one line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return '?'
		}
		return r
	}, s)
}

// bounded cuts at a whole character.
func bounded(s string, most int) string {
	s = strings.ToValidUTF8(s, "?")
	if len(s) <= most {
		return s
	}
	cut := 0
	for i := range s {
		if i > most-len("…") {
			break
		}
		cut = i
	}
	return s[:cut] + "…"
}

// tell adds events to the outbox, each with its line in the diary.
func tell(ch *flex.Changes, st flex.Stamp, events []flex.Event) error {
	for _, ev := range events {
		body, err := json.Marshal(ev)
		if err != nil {
			return fmt.Errorf("tell event %s: %w", ev.Code, err)
		}
		ch.Outbox = append(ch.Outbox, flex.Message{Stream: flex.StreamEvent, At: st.At, Clock: st.Clock, Schema: "event/1", Body: body})
		ch.Audit = append(ch.Audit, flex.Audit{At: st, What: ev.Code, Subject: ev.Subject, By: "market", Text: ev.Text})
	}
	return nil
}
