package allocate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// lasts is how long a set of batteries can hold a power at best: each gives no
// more than its rating and its energy.
func lasts(power float64, rating, energy []float64) time.Duration {
	lo, hi := 0.0, 1000.0 // hours
	for range 60 {
		mid, sum := (lo+hi)/2, 0.0
		for i := range rating {
			sum += math.Min(rating[i], energy[i]/mid)
		}
		if sum >= power {
			lo = mid
		} else {
			hi = mid
		}
	}
	return time.Duration(lo * float64(time.Hour))
}

// A fleet of unequal batteries holds its power for nearly as long as their
// energy allows: none runs dry early and leaves the others short.
func TestBatteriesRunDryTogether(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	const step = 30 * time.Second
	for n := range longtest.Pick(100, 300) {
		in := Input{Now: t0}
		var rating, energy, wh, size []float64
		asset := Asset{ID: "a", Control: Setpoint}
		sum := flex.Watts(0)
		export := r.IntN(2) == 0
		for i := range 2 + r.IntN(4) {
			d := battery(flex.DeviceID(fmt.Sprintf("b%d", i)), flex.Watts(2000+r.IntN(10_000)), flex.Percent(3000+r.IntN(4000)))
			d.Plate.Energy, d.ReserveSoC = flex.WattHours(3000+r.IntN(30_000)), 1000
			in.Devices = append(in.Devices, d)
			asset.Devices = append(asset.Devices, d.ID)
			e := float64(d.Plate.Energy)
			now := e * float64(*d.Reading.SoC) / 10_000
			usable := now - e/10
			if !export {
				usable = e - now
			}
			rating, energy, wh, size = append(rating, float64(d.Plate.MaxPower)), append(energy, usable), append(wh, now), append(size, e)
			sum += d.Plate.MaxPower
		}
		power := sum * flex.Watts(20+r.IntN(60)) / 100
		best := lasts(float64(power), rating, energy)
		if best < 20*time.Minute || best > 6*time.Hour {
			continue
		}
		if !export {
			power = -power
		}
		in.Assets = []Asset{asset}
		in.Dispatches = []flex.Dispatch{{ID: "d", Shares: []flex.AssetShare{{Asset: "a", Power: power}}, Window: flex.Window{Start: t0, End: t0.Add(24 * time.Hour)}}}
		changes := 0
		for ; ; in.Now = in.Now.Add(step) {
			p := Decide(in)
			if p.Shortfall["d"].Missing > power.Abs()/100 {
				break
			}
			in.State = p.State
			for i, tg := range p.Targets {
				if tg.Power != in.Devices[i].Target.Power {
					changes++
				}
				in.Devices[i].Target = tg
				wh[i] -= float64(tg.Power) * step.Hours()
				soc, w := min(flex.Full, max(0, flex.Percent(wh[i]/size[i]*10_000))), tg.Power
				in.Devices[i].Reading = &flex.Reading{Device: tg.Device, At: in.Now.Add(step), Power: &w, SoC: &soc}
			}
		}
		held := in.Now.Sub(t0)
		if held < best*92/100 {
			t.Errorf("fleet %d: %v held for %v of %v", n, power, held, best)
		}
		if most := 2 * len(in.Devices) * int(held/time.Minute); changes > most {
			t.Errorf("fleet %d: %d changes in %v", n, changes, held)
		}
	}
}
