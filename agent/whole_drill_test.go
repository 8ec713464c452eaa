package agent_test

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/sim"
)

// A person rehearses on the real devices: the watts come and go, and everybody
// who is told is told that it is a test.
func TestADrillMovesTheDevicesAndIsMarkedAsATest(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	s.inside()
	out, code := s.command("drill", "z8mpC6x", "--real", "--import", "--power", "700 W", "--for", "10s", "--yes")
	if code != 0 || !strings.Contains(out, "delivered  ") {
		t.Fatalf("%d: %s", code, out)
	}
	id := regexp.MustCompile(`drill-[0-9A-Z]{26}`).FindString(out)
	rec, ok := s.record(id)
	if !ok || !rec.Instruction.Test || rec.Shares[0].Power != -700 {
		t.Fatalf("%+v", rec)
	}
	if s.devices[0].Controlled() {
		t.Error("not handed back")
	}
	s.await(10*time.Second, "the fleet hears of it", func() bool { return s.ear.has(id, string(flex.Completed)) })
	for _, h := range s.ear.on("ack") {
		if h.Instruction == id && !h.Test {
			t.Errorf("not marked: %+v", h)
		}
	}
	if out, code := s.command("drill", "z8mpC6x", "--real", "--within", "1", "--power", "5 kW", "--yes"); code != 4 || !strings.Contains(out, "more than the") {
		t.Errorf("%d: %s", code, out)
	}
}

// A dead battery passes no drill although the house happens to take what is
// asked of it.
func TestADeadBatteryPassesNoDrill(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, IgnoresControl: true})}, load: 970})
	s.inside()
	out, code := s.command("drill", "z8mpC6x", "--real", "--power", "1 kW", "--for", "10s", "--yes")
	if code != 1 || !strings.Contains(out, "bat1 gave 970 W before and 1 kW was asked of it") {
		t.Errorf("%d: %s", code, out)
	}
}

// A device that does the opposite of what it is told is handed back within
// 5 s, the drill fails and says why, and the device stays free until a person
// lets it be controlled again.
func TestAReversedDeviceIsHandedBackAndLeftAlone(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, Reversed: true})}})
	s.inside()
	out, code := s.command("drill", "z8mpC6x", "--real", "--import", "--within", "50", "--power", "2 kW", "--for", "15s", "--yes")
	if code == 0 || s.devices[0].Controlled() {
		t.Fatalf("%d, controlled %v: %s", code, s.devices[0].Controlled(), out)
	}
	id := regexp.MustCompile(`drill-[0-9A-Z]{26}`).FindString(out)
	s.await(10*time.Second, "its record ends", func() bool { rec, ok := s.record(id); return ok && rec.State.Final() })
	rec, _ := s.record(id)
	if !rec.Has(flex.DeviceFailed) || !rec.Has(flex.Partial) || rec.Reason != "" && rec.Reason != flex.ReasonContraryPower {
		t.Errorf("%s %v %s %s", rec.State, rec.Conditions, rec.Reason, rec.Text)
	}
	if out, code := s.command("status"); code != 0 || !strings.Contains(out, "which is the opposite") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.command("device", "resume", "bat1"); code != 0 || !strings.Contains(out, "may be controlled again") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.command("device", "resume", "bat1"); code != 4 {
		t.Errorf("%d: %s", code, out)
	}
}

// A first rehearsal passes on a hybrid, whatever its battery does by itself.
func TestAFirstDrillPassesOnAHybrid(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		sun, load float64
		drill     []string
	}{
		"while it serves the house":     {1000, 4000, []string{"--power", "5 kW", "--within", "50"}},
		"while it charges from the sun": {6000, 500, []string{"--power", "2 kW", "--within", "50"}},
		"into charging from the sun":    {3000, 4000, []string{"--import", "--power", "700 W"}},
		"at rest in the dark":           {0, 0, []string{"--power", "800 W"}},
		"by what nobody asked for":      {0, 3000, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := aBattery(sim.Options{PctSF: -2, RampRate: 2500})
			b.Sun = func(time.Time) float64 { return c.sun }
			s := newSite(t, siteOptions{batteries: []sim.Battery{b}, load: c.load})
			s.inside()
			out, code := s.command(append([]string{"drill", "z8mpC6x", "--real", "--for", "20s", "--yes"}, c.drill...)...)
			if code != 0 || !strings.Contains(out, "delivered  ") {
				t.Fatalf("%d: %s", code, out)
			}
			if s.devices[0].Controlled() {
				t.Error("not handed back")
			}
		})
	}
}
