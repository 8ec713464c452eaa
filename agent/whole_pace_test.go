package agent_test

import (
	"syscall"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// An asset that has not rested, or would not run for long enough, is not
// dispatched, whatever restarts lie in between.
func TestAnAssetIsGivenItsRest(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true, asset: "recovery: 1h, min_run: 3s"})
	s.process()
	s.serving()
	state := func(id string, want flex.State, reason flex.Reason) {
		t.Helper()
		s.await(15*time.Second, id+" is "+string(want), func() bool {
			r, ok := s.record(id)
			return ok && r.State == want && (reason == "" || r.Reason == reason)
		})
	}
	start := second(3 * time.Second)
	end := start.Add(3 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	state("i1", flex.Completed, "")
	s.instruct(ask("i2", "0.00300", "export", end.Add(30*time.Minute), end.Add(40*time.Minute)))
	state("i2", flex.Refused, flex.ReasonRecovery)
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	_ = s.cmd.Wait()
	s.cmd = nil
	s.process()
	s.serving()
	s.instruct(ask("i3", "0.00300", "export", end.Add(59*time.Minute), end.Add(70*time.Minute)))
	state("i3", flex.Refused, flex.ReasonRecovery)
	s.instruct(ask("i4", "0.00300", "export", end.Add(61*time.Minute), end.Add(61*time.Minute+2*time.Second)))
	state("i4", flex.Refused, flex.ReasonMinRun)
	s.instruct(ask("i5", "0.00300", "export", end.Add(61*time.Minute), end.Add(70*time.Minute)))
	state("i5", flex.Scheduled, "")
}
