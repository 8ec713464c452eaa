package regmap_test

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
)

// A battery that sleeps or is empty tells no state of charge, and can be told
// to charge all the same; its serial number is a number.
func TestAnSMABatteryThatSleepsIsCharged(t *testing.T) {
	for _, o := range []strangers.SMAOptions{{SoC: 5}, {SoC: 5, Sleeps: 2 * time.Minute}, {SoC: 5, Sleeps: 2 * time.Minute, ReadsNaN: true}} {
		synctest.Test(t, func(t *testing.T) {
			b := madeFor("sma-storage").with(func(now func() time.Time) plant { return strangers.NewSBS(now, o) }).bench()
			time.Sleep(3 * time.Minute) // it falls asleep
			d, e := b.take(t)
			p, err := d.Open(t.Context())
			if err != nil || p.Serial != "3012345678" || p.MaxCharge != 5000 {
				t.Errorf("%+v, %v", p, err)
			}
			r, err := d.Read(t.Context())
			if err != nil || r.Power == nil || *r.Power != 0 || r.SoC == nil || *r.SoC != 0 {
				t.Errorf("asleep or empty: %+v, %v", r, err)
			}
			if err := b.steer(t, d, e, -2000, 90*time.Second); err != nil {
				t.Fatal(err)
			}
			near(t, "charging", float64(b.gives()), -2000, 1)
			b.truthful(t, d)
		})
	}
}

// On a Smart Energy in the sun the two readings of 40149 differ by the PV: each
// map holds a device of its own reading, as battery and as a hybrid.
func TestASmartEnergyOfEitherReading(t *testing.T) {
	for name, reading := range map[string]strangers.SMAReading{"sma-stp-se": strangers.SMAACPower, "sma-stp-se-battery": strangers.SMABatteryPower} {
		for _, role := range []flex.Role{flex.RoleStorage, flex.RoleHybrid} {
			synctest.Test(t, func(t *testing.T) {
				b := madeFor(name).with(func(now func() time.Time) plant {
					return strangers.NewSTPSE(now, strangers.SMAOptions{House: 500, Sun: 2500, Reading: reading})
				}).bench(as(role, true))
				d, e := b.take(t)
				for _, w := range []flex.Watts{3000, -1500, 500, 0} {
					if err := b.steer(t, d, e, w, 5*time.Second); err != nil {
						t.Fatal(err)
					}
					near(t, name+" as "+string(role), float64(b.gives()), float64(w), 2)
					b.truthful(t, d)
				}
			})
		}
	}
}
