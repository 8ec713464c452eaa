package clock

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// What an offset that time servers agree on means.
const (
	agreeWithin = time.Second // so close must the servers be to one another
	wrongBy     = 2 * time.Second
	rightBy     = 100 * time.Millisecond
	// proofLife is how long an agreement counts without another: a clock may
	// be slewed meanwhile, which nobody here sees.
	proofLife = time.Hour
)

// proof is what a majority of the listed servers agreed on.
type proof struct {
	zero time.Time // the true time at which this machine was booted
	at   flex.Stamp
	by   []string
}

// agree finds what more than half of the listed servers say, within a second
// of one another. The middle one of them counts.
func agree(heard []said, listed int) (zero time.Time, by []string, ok bool) {
	heard = slices.Clone(heard)
	slices.SortFunc(heard, func(a, b said) int { return a.zero.Compare(b.zero) })
	var best []said
	for i := range heard {
		n := i
		for n < len(heard) && heard[n].zero.Sub(heard[i].zero) <= agreeWithin {
			n++
		}
		if n-i > len(best) {
			best = heard[i:n]
		}
	}
	if len(best)*2 <= listed {
		return zero, nil, false
	}
	for _, s := range best {
		by = append(by, s.name)
	}
	slices.Sort(by)
	return best[len(best)/2].zero, by, true
}

// prove takes what the servers agree on.
func (w *Wall) prove(zero time.Time, by []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.proof = &proof{zero: zero, at: w.read(), by: by}
}

// offset is what must be added to the reading to have the true time, by the
// latest proof that still counts; w.mu is held.
func (w *Wall) offset(s flex.Stamp) (time.Duration, bool) {
	p := w.proof
	if p == nil || p.at.Boot != s.Boot || s.Since-p.at.Since > proofLife {
		return 0, false
	}
	return p.zero.Add(s.Since).Sub(s.At.Round(0)), true
}

// State is the clock as people see it.
type State struct {
	At    time.Time       `json:"at"`
	Trust flex.ClockTrust `json:"trust"`
	Why   string          `json:"why"`
	// OffsetMS is how far, in milliseconds, the clock is behind (+) or ahead
	// (-) of what a majority of the time servers says; absent without one.
	OffsetMS *int64         `json:"offset_ms,omitempty"`
	By       []string       `json:"by,omitempty"` // the servers that agree
	Servers  []ServerStatus `json:"servers,omitempty"`
}

// State tells how far the clock is trusted, and why.
func (w *Wall) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stamp()
	st := State{At: s.At, Trust: s.Clock}
	off, proven := w.offset(s)
	if proven {
		ms := off.Milliseconds()
		st.OffsetMS, st.By = &ms, slices.Clone(w.proof.by)
	}
	switch {
	case s.At.Before(w.floor):
		st.Why = fmt.Sprintf("it shows %s and must be later than %s, when flexd was built or had last stored the time: set it, or let chrony or systemd-timesyncd do it",
			s.At.Format(time.RFC3339), w.floor.Format(time.RFC3339))
	case s.Clock == flex.ClockUntrusted && (!proven || off.Abs() <= wrongBy):
		st.Why = fmt.Sprintf("it was stepped by %v since it was synchronised at %s, and is not synchronised now: let chrony or systemd-timesyncd do that, or restart flexd to take it as it is",
			w.astray(s).Round(rightBy), w.anchor.At.Format(time.RFC3339))
	case s.Clock == flex.ClockUntrusted:
		st.Why = fmt.Sprintf("it is %s: let chrony or systemd-timesyncd synchronise it", offsetText(off, w.proof.by))
	case s.Clock == flex.ClockSynced:
		st.Why = "the kernel's clock is synchronised"
	default:
		st.Why = "the kernel's clock is not synchronised (chrony needs rtcsync, or run systemd-timesyncd)"
	}
	if proven && s.Clock != flex.ClockUntrusted {
		st.Why += "; it is " + offsetText(off, w.proof.by)
	}
	if said := hearsayText(w.hearsay(s)); said != "" {
		st.Why += "; it is " + said
	}
	return st
}

// offsetText says an offset in words.
func offsetText(off time.Duration, by []string) string {
	of := strings.Join(by, ", ")
	switch {
	case off.Abs() <= rightBy:
		return fmt.Sprintf("within %v of %s", rightBy, of)
	case off > 0:
		return fmt.Sprintf("%v behind %s", off.Round(rightBy), of)
	}
	return fmt.Sprintf("%v ahead of %s", (-off).Round(rightBy), of)
}
