package agent_test

import (
	"strings"
	"syscall"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// The reasons are there for now, for a second that has passed, and over the end
// of the process.
func TestWhyIsToldForEverySecond(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true})
	s.process()
	s.serving()
	start := second(3 * time.Second)
	end := start.Add(4 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	until(start.Add(2 * time.Second))
	tell := func(want string, args ...string) {
		t.Helper()
		if out, code := s.command(append([]string{"why", assetID}, args...)...); code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d, want %q: %s", code, want, out)
		}
	}
	tell("instruction i1 asks asset")
	until(end.Add(2 * time.Second))
	tell("nobody asks")
	then := start.Add(time.Second).Format(time.RFC3339)
	tell("asked for 3 kW", "--at", then)
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	_ = s.cmd.Wait()
	s.cmd = nil
	s.process()
	s.serving()
	tell("asked for 3 kW", "--at", then)
	tell("nobody asks")
}
