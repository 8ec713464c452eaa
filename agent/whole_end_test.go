package agent_test

import (
	"syscall"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// An orderly end hands everything back before the process is gone, whatever
// the device would do by itself.
func TestAnOrderlyEndHandsBack(t *testing.T) {
	s, bat := oneBattery(t, func(o *siteOptions) { o.batteries = []sim.Battery{aBattery(sim.Options{NeverReverts: true})} })
	s.process()
	s.serving()
	start := second(time.Second)
	s.instruct(ask("i1", "0.00400", "export", start, start.Add(time.Minute)))
	s.delivers(bat, 6*time.Second, 4000)
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
	s.cmd = nil
	if bat.Controlled() {
		t.Error("still controlled after an orderly end")
	}
	last := s.ear.on("state")
	if len(last) == 0 || last[len(last)-1].State != "offline" {
		t.Errorf("the broker's last state is %v, want offline", last)
	}
}
