package regmap_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
)

// slow is a line on which every request takes its time.
type slow struct{ *tap }

func (s slow) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	time.Sleep(20 * time.Millisecond)
	return s.tap.Do(ctx, r)
}

// AC and battery power are read one after the other; while the battery ramps
// their difference is not the sun, and the plant must not overshoot by it.
func TestAHybridDoesNotOvershootWhileItsBatteryRamps(t *testing.T) {
	const ramp, sun, house = 1000, 2000, 700
	builds := map[string]func(now func() time.Time) plant{
		"sungrow-sh": func(now func() time.Time) plant {
			return strangers.NewSungrow(now, strangers.SungrowOptions{Ramp: ramp, Sun: sun, House: house})
		},
		"solaredge-storedge": func(now func() time.Time) plant {
			return strangers.NewSolarEdge(now, strangers.SolarEdgeOptions{Batteries: 2, Ramp: ramp, Sun: sun, House: house})
		},
		"fronius-gen24": func(now func() time.Time) plant {
			return strangers.NewFronius(now, strangers.FroniusOptions{Ramp: ramp, Sun: sun, House: house})
		},
	}
	for name, build := range builds {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := madeFor(name).with(build).bench(as(flex.RoleHybrid, true))
				d := b.driver(t, slow{b.p})
				if _, err := d.Open(t.Context()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(20 * time.Second)
				e := entryOf(t, d)
				for _, w := range []flex.Watts{4000, -1500} {
					from := b.gives()
					done := make(chan error, 1)
					go func() { done <- b.steer(t, d, &e, w, 12*time.Second) }()
					for range 120 {
						time.Sleep(100 * time.Millisecond)
						if now := b.gives(); now > max(from, w)+5 || now < min(from, w)-5 {
							t.Errorf("from %v to %v: the plant gives %v", from, w, now)
							break
						}
					}
					if err := <-done; err != nil {
						t.Error(err)
					}
					near(t, "at the end", float64(b.gives()), float64(w), 3)
				}
			})
		})
	}
}
