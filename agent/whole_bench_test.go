package agent_test

import (
	"strings"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// Registers of the simulated battery by model 124 in the usual chain.
const (
	storCtlMod = "40259" // flexd's own
	minRsvPct  = "40261" // nobody's
)

// A technician writes a register that flexd does not use, sees what it was,
// takes it back, and cannot touch what flexd controls.
func TestATechnicianWritesByHandAndTakesItBack(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true})
	s.inside()
	read := func() string { out, _ := s.command("device", "read", "bat1", minRsvPct, "1"); return out }
	before := read()
	if out, code := s.command("device", "write", "bat1", minRsvPct, "150", "--yes"); code != 0 || !strings.Contains(out, "takes it back") {
		t.Fatalf("%d: %s", code, out)
	}
	if after := read(); !strings.Contains(after, "150") || after == before {
		t.Errorf("it holds %s", after)
	}
	if out, code := s.command("device", "write", "bat1", "--undo", "--yes"); code != 0 {
		t.Fatalf("%d: %s", code, out)
	}
	if after := read(); after != before {
		t.Errorf("it holds %s, before %s", after, before)
	}
	if out, code := s.command("device", "write", "bat1", storCtlMod, "3", "--yes"); code == 0 || !strings.Contains(out, "flexd controls") {
		t.Errorf("%d: %s", code, out)
	}
	hour := second(time.Minute)
	s.instruct(ask("near", "0.00300", "export", hour, hour.Add(time.Minute)))
	s.await(2*time.Second, "it is known", func() bool { _, ok := s.record("near"); return ok })
	if out, code := s.command("device", "write", "bat1", minRsvPct, "150", "--yes"); code == 0 || !strings.Contains(out, "near") {
		t.Errorf("%d: %s", code, out)
	}
}

// Where commissioning is required nothing is controlled before it, and it is
// the same control that tries the device and hands it back.
func TestNothingIsControlledBeforeItIsCommissioned(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, noBroker: true, proven: true})
	s.inside()
	start := second(2 * time.Second)
	s.instruct(ask("early", "0.00300", "export", start, start.Add(3*time.Second)))
	for until(start.Add(time.Second)); time.Now().Before(start.Add(3 * time.Second)); time.Sleep(200 * time.Millisecond) {
		if p := s.devices[0].Power(); p != 0 {
			t.Fatalf("%v W before it was commissioned", p)
		}
	}
	out, code := s.command("device", "commission", "bat1", "--yes", "--seconds", "15")
	if code != 0 || !strings.Contains(out, "direction at the meter: right") || !strings.Contains(out, "signed and stored") {
		t.Fatalf("%d: %s", code, out)
	}
	if st := s.shown(); st.Devices[0].Held || s.devices[0].Power() != 0 {
		t.Errorf("not handed back: %+v", st.Devices[0])
	}
	if out, code := s.command("device", "commission", "bat1", "--show"); code != 0 || !strings.Contains(out, "direction at the meter: right") {
		t.Errorf("%d: %s", code, out)
	}
	start = second(2 * time.Second)
	s.instruct(ask("after", "0.00300", "export", start, start.Add(3*time.Second)))
	s.delivers(s.devices[0], time.Until(start.Add(2*time.Second)), 3000)
	s.await(3*time.Second, "the first write is known", func() bool { r, _ := s.record("after"); return !r.FirstWrite.IsZero() })
	r, _ := s.record("after")
	if lead := start.Sub(r.FirstWrite); lead <= 0 || lead > 2*time.Second { // its reaction was measured at most a sample late
		t.Errorf("told %v before the start, the record says %s", lead, out)
	}
}
