package flex

import (
	"slices"
	"time"
)

// Spell is one time during which a condition held.
type Spell struct {
	Condition Condition `json:"condition"`
	From      time.Time `json:"from"`
	To        time.Time `json:"to,omitzero"` // zero: it holds, or held to the record's last step
	// Times is how often it came and went within From and To, where that is
	// more than once: a condition that flutters is told as one spell.
	Times  int    `json:"times,omitempty"`
	Reason Reason `json:"reason,omitempty"`
	Text   string `json:"text,omitempty"`
}

// mostSpells is how many spells of one condition a record tells apart.
const mostSpells = 8

// Ends is when the record stops asking: at its end, or at its stop.
func (r Record) Ends() time.Time {
	if end := r.Window.End; r.StopAt.IsZero() || end.Before(r.StopAt) && !end.IsZero() {
		return end
	}
	return r.StopAt
}

// ReleaseLate is by how much the release came after it was due; ok is false
// while no release is proven, and where nothing was under control.
func (r Record) ReleaseLate() (late time.Duration, ok bool) {
	if r.ReleasedAt.IsZero() || r.Ends().IsZero() {
		return 0, false
	}
	return max(0, r.ReleasedAt.Sub(r.Ends())), true
}

// Chronicle notes in the history which conditions began and ended with the
// record's present face. gone is when a condition was last seen; the zero
// instant means now.
func (r Record) Chronicle(now time.Time, gone func(Condition) time.Time) Record {
	history := slices.Clone(r.History)
	for _, c := range r.Conditions {
		if i := openSpell(history, c); i < 0 {
			history = begin(history, Spell{Condition: c, From: r.began(c, now), Reason: r.because(c), Text: r.said(c)})
		} else if c == Partial && r.Reason != "" {
			history[i].Reason, history[i].Text = r.Reason, r.Text
		}
	}
	for i := range history {
		s := &history[i]
		if !s.To.IsZero() || r.Has(s.Condition) && !r.State.Final() {
			continue
		}
		s.To = now
		if at := gone(s.Condition); !at.IsZero() && !r.Has(s.Condition) { // one that stands at the end holds to the end
			s.To = at
		}
		switch end := r.Ends(); {
		case s.Condition == ReleaseOwed:
			if r.State.Final() && !r.ReleasedAt.IsZero() {
				s.To = r.ReleasedAt
			}
		case !end.IsZero() && s.To.After(end):
			s.To = end // nothing is wanted from then on
		}
		if s.To.Before(s.From) {
			s.To = s.From
		}
	}
	r.History = history
	return r
}

// began is when a condition that is seen now began.
func (r Record) began(c Condition, now time.Time) time.Time {
	if end := r.Ends(); c == ReleaseOwed && !end.IsZero() && end.Before(now) {
		return end
	}
	return now
}

// explains tells whether the record's reason is that of the condition.
func (r Record) explains(c Condition) bool {
	return c == Partial || c == Overridden && r.Reason == ReasonOutranked
}

func (r Record) because(c Condition) Reason {
	if r.explains(c) {
		return r.Reason
	}
	return ""
}

func (r Record) said(c Condition) string {
	if r.explains(c) {
		return r.Text
	}
	return ""
}

func openSpell(history []Spell, c Condition) int {
	return slices.IndexFunc(history, func(s Spell) bool { return s.Condition == c && s.To.IsZero() })
}

// begin adds a spell, within its bound: what flutters goes on in the last one.
func begin(history []Spell, s Spell) []Spell {
	n, last := 0, -1
	for i, h := range history {
		if h.Condition == s.Condition {
			n, last = n+1, i
		}
	}
	if n < mostSpells {
		return append(history, s)
	}
	l := &history[last]
	l.To, l.Times = time.Time{}, max(1, l.Times)+1
	l.Reason, l.Text = s.Reason, s.Text
	return history
}

// shift is the history as told by a clock that is ahead by so much.
func shift(history []Spell, by time.Duration) []Spell {
	history = slices.Clone(history)
	for i := range history {
		history[i].From = history[i].From.Round(0).Add(by)
		if to := &history[i].To; !to.IsZero() {
			*to = to.Round(0).Add(by)
		}
	}
	return history
}

// Later is the record with its history and the instants of its proofs later
// by so much: the wall clock that they are told in was stepped.
func (r Record) Later(by time.Duration) Record {
	if by == 0 {
		return r
	}
	for _, t := range []*time.Time{&r.FirstWrite, &r.EchoAt, &r.ActingAt, &r.DeliverAt, &r.ReleasedAt} {
		if !t.IsZero() {
			*t = t.Round(0).Add(by)
		}
	}
	r.History = shift(r.History, by)
	return r
}
