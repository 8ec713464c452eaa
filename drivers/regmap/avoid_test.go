package regmap_test

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
)

// To a GX a setpoint of exactly 0 W is its owner's again: asked for just what
// the house draws, the battery gives that and not what the owner had.
func TestAVictronIsNeverToldTheValueThatHandsItBack(t *testing.T) {
	for _, w := range []flex.Watts{700, -1000} {
		synctest.Test(t, func(t *testing.T) {
			b := madeFor("victron-gx").with(func(now func() time.Time) plant {
				return strangers.NewVictron(now, strangers.VictronOptions{House: 700, Setpoint: 300})
			}).bench()
			if w < 0 {
				b.dev.SetSun(700 + 1000)
			}
			d, e := b.take(t)
			found := b.owner()
			for range 5 {
				if err := b.steer(t, d, e, w, time.Second); err != nil {
					t.Fatal(err)
				}
				near(t, "told", float64(b.gives()), float64(w), 2)
				if !b.on(b.get) {
					t.Errorf("told %v, it is its owner's", w)
				}
			}
			b.handedBack(t, e, found)
		})
	}
}
