package agent_test

import (
	"slices"
	"time"
)

// The steps of the clock in the year: each is taken by nobody's word and put
// right before the process rests. The test's own book stays with the true
// time, and so must the plant.
var clockSteps = []time.Duration{3 * time.Second, -3 * time.Second, 40 * time.Second, -40 * time.Second, 9 * time.Minute, -9 * time.Minute,
	time.Hour, -time.Hour, 26 * time.Hour, -26 * time.Hour, 9 * 365 * 24 * time.Hour, -9 * 365 * 24 * time.Hour}

// clock plans a step for some of the dispatches: those of which the market
// says nothing while the clock is wrong, unless it is to stop them. One that
// is not killed meets the step before it begins as well.
func (s *script) clock() {
	w := s.w
	if !slices.Contains([]string{"plain", "stopped"}, s.kind) || s.fault == "away throughout" {
		return
	}
	w.clocks++
	at := s.start.Add(s.end.Sub(s.start) / 3).Truncate(time.Second)
	if w.clocks%2 == 0 && !slices.Contains([]string{"killed", "restarted"}, s.fault) {
		at = s.start.Add(-30 * time.Second)
	}
	if w.clocks%4 != 1 && w.clocks%4 != 2 {
		return
	}
	by := clockSteps[w.tally.steps%len(clockSteps)]
	w.tally.steps++
	s.at(at, func() { w.clock.Adjust(by, false) })
	s.at(s.end.Add(60*time.Second), func() { w.clock.Adjust(-by, true) })
}
