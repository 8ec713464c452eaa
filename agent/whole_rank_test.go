package agent_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// One of a lower priority waits while one of a higher runs, and goes on when
// that is over, although flexd is killed in between; the record tells both.
func TestALowerPriorityGoesOnAfterAHigherOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true,
		terms: "contracts: [{id: " + contractID + "-import, priority: 5}]"})
	bat := s.devices[0]
	s.process()
	s.serving()
	start := second(time.Second)
	s.instruct(ask("low", "0.00300", "export", start, start.Add(9*time.Second)))
	s.instruct(ask("high", "0.00200", "import", start.Add(2*time.Second), start.Add(6*time.Second)))
	gives := func(at time.Duration, want float64) {
		t.Helper()
		until(start.Add(at))
		s.await(time.Second, "the power", func() bool { return bat.Power() == want })
	}
	gives(time.Second, 3000)
	gives(2500*time.Millisecond, -2000)
	until(start.Add(3500 * time.Millisecond))
	s.kill()
	s.process()
	s.await(time.Second, "the lower one says that it waits", func() bool {
		r, ok := s.record("low")
		return ok && r.State == flex.Active && r.Has(flex.Overridden) && r.Reason == flex.ReasonOutranked
	})
	gives(5*time.Second, -2000)
	gives(6500*time.Millisecond, 3000)
	until(start.Add(9 * time.Second))
	var low, high flex.Record
	s.await(5*time.Second, "the end", func() bool {
		low, _ = s.record("low")
		high, _ = s.record("high")
		return low.State.Final() && high.State.Final() && !bat.Controlled()
	})
	last := low.Steps[len(low.Steps)-1]
	if low.State != flex.Completed || high.State != flex.Completed || !strings.Contains(last.Text, "overridden for ") {
		t.Errorf("%s (%s), %s", low.State, last.Text, high.State)
	}
	waited := time.Duration(0)
	for _, h := range low.History {
		if h.Condition == flex.Overridden {
			waited += h.To.Sub(h.From)
		}
	}
	if waited < 3*time.Second || waited > 5*time.Second {
		t.Errorf("it waited for %v by its history: %+v", waited, low.History)
	}
}
