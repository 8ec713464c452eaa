package agent_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"flexd/drivers/sim"
)

// An asset that is held by its meter gives what was asked at the meter,
// whatever the house does.
func TestTheMeterIsHeldWhateverTheHouseDoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, RampRate: 5000})}, load: 1500, asset: "control: meter", noBroker: true})
	s.inside()
	start := second(3 * time.Second)
	end := start.Add(45 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	near := func(w float64) bool { return math.Abs(s.plant.Grid()-w) < 100 }
	until(start)
	s.await(6*time.Second, "3 kW at the meter", func() bool { return near(3000) })
	if out, code := s.command("status"); code != 0 || !strings.Contains(out, "is held by its meter: wanted 3 kW") {
		t.Errorf("%d: %s", code, out)
	}
	time.Sleep(3 * time.Second) // the devices stand still
	s.plant.SetLoad(4000)
	s.await(2*time.Second, "the house draws more", func() bool { return !near(3000) })
	s.await(15*time.Second, "3 kW at the meter again", func() bool { return near(3000) })
	until(end)
	s.await(5*time.Second, "it is handed back", func() bool { return !s.devices[0].Controlled() })
}
