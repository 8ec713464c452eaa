package agent_test

import (
	"strings"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// Before a window begins people and the fleet know whether it can be served:
// on demand, and by the agent itself, once, whatever restarts lie in between.
func TestPreflightBeforeAWindow(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}})
	s.process()
	s.serving()
	start := second(15 * time.Minute)
	s.instruct(ask("i1", "0.01000", "export", start, start.Add(30*time.Minute)))
	s.await(10*time.Second, "i1 is scheduled", func() bool { r, ok := s.record("i1"); return ok && r.State == "scheduled" })

	// 10 kWh above the reserve: enough for half an hour of 10 kW, not for the four of the contract.
	s.await(10*time.Second, "the battery is read", func() bool { out, _ := s.command("preflight"); return !contains(out, "cannot be read") })
	out, code := s.command("preflight")
	for _, want := range []string{"AT RISK  obligation obl-1 ", "energy_insufficient: bat1 can give 10.0 kWh above the reserve now; 10 kW for 4h0m0s needs 44.0 kWh", "GO       instruction i1"} {
		if code != 1 || !contains(out, want) {
			t.Errorf("exit %d, want %q in:\n%s", code, want, out)
		}
	}
	if out, code := s.command("hold", "--reason", "works"); code != 0 {
		t.Fatalf("hold: %d %s", code, out)
	}
	if out, _ := s.command("preflight", "--json"); strings.Count(out, `"local_hold"`) < 2 {
		t.Errorf("a hold is a reason everywhere: %s", out)
	}
	s.await(50*time.Second, "the check is made by itself and shown", func() bool {
		out, _ := s.command("instructions")
		return contains(out, "at risk") && contains(out, "i1 local_hold: asset "+assetID+" is held")
	})
	s.await(10*time.Second, "the fleet hears", func() bool {
		return contains(s.ear.String(), "preflight") && contains(s.ear.String(), "at_risk")
	})
	if out, _ := s.command("status"); !contains(out, "WARNING  at_risk i1: instruction i1") || !contains(out, "windows ahead are go") {
		t.Errorf("status: %s", out)
	}
}

// A battery that would not do is charged until its window begins, says for
// whom, and is handed back then.
func TestABatteryIsChargedBeforeItsWindow(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a minute of the clock")
	}
	t.Parallel()
	local, err := time.LoadLocation("Europe/London")
	must(t, err)
	start := time.Now().Add(50 * time.Second).Truncate(time.Minute).Add(time.Minute)
	window := start.In(local).Format("15:04") + "-" + start.In(local).Add(30*time.Minute).Format("15:04")
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, window: window, capacity: "0.03000",
		preflight: "{prepare: precharge, margin: 0%}"})
	s.process()
	s.serving()
	s.await(45*time.Second, "it is charged", func() bool {
		st, err := s.status()
		return err == nil && st.Devices[0].Reading != nil && st.Devices[0].Reading.Power != nil && *st.Devices[0].Reading.Power < -9000
	})
	if out, _ := s.command("why", assetID); !contains(out, "asked for -10 kW") || !contains(out, "preflight: precharge for obligation "+contractID+" until "+start.UTC().Format("15:04Z")) {
		t.Errorf("why: %s", out)
	}
	until(start.Add(2 * time.Second))
	s.await(10*time.Second, "it is handed back", func() bool {
		st, err := s.status()
		return err == nil && !st.Devices[0].Held && st.Devices[0].Reading.Power != nil && st.Devices[0].Reading.Power.Abs() < 100
	})
	if !contains(s.ear.String(), "precharge") {
		t.Error("the fleet did not hear of it")
	}
}

// Killed while it charges, flexd hands the battery back at its next start and
// then goes on; a hold ends it at once.
func TestChargingSurvivesAKillAndYieldsToAHold(t *testing.T) {
	if testing.Short() {
		t.Skip("it waits for a minute of the clock")
	}
	t.Parallel()
	local, err := time.LoadLocation("Europe/London")
	must(t, err)
	start := time.Now().Truncate(time.Minute).Add(10 * time.Minute).In(local)
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, window: start.Format("15:04") + "-" + start.Add(30*time.Minute).Format("15:04"),
		capacity: "0.03000", noBroker: true, preflight: "{prepare: precharge}"})
	charges := func() bool {
		st, err := s.status()
		r := st.Devices
		return err == nil && r[0].Held && r[0].Reading != nil && r[0].Reading.Power != nil && *r[0].Reading.Power < -9000
	}
	s.process()
	s.serving()
	s.await(45*time.Second, "it is charged", charges)
	s.kill()
	s.process()
	s.serving()
	if !contains(s.log.String(), "a device was left under control and is handed back") {
		t.Error("the battery was not handed back at the start")
	}
	s.await(45*time.Second, "it is charged again", charges)
	if out, code := s.command("hold", "--reason", "works"); code != 0 {
		t.Fatalf("hold: %d %s", code, out)
	}
	s.await(3*time.Second, "it is handed back", func() bool {
		st, err := s.status()
		return err == nil && !st.Devices[0].Held && st.Devices[0].Target.Order == "none"
	})
}
