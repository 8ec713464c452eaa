package regmap_test

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/modbus"
	"flexd/drivers/regmap"
)

// Whatever its owner runs, by the app or by a controller of their own, a plant
// gives what it is told and goes on with that afterwards; its limits are never
// touched, since they could not be put back in every protocol version.
func TestASigenergyGoesOnWithWhatItsOwnerRuns(t *testing.T) {
	for _, o := range []strangers.SigenergyOptions{
		{House: 700},
		{House: 700, Schedule: -3000, WorkMode: 2},
		{House: 700, Remote: true, Mode: 4, ChargeLimit: 3000},
		{House: 700, Remote: true, Mode: 4, ChargeLimit: 3000, Protocol: 29},
		{House: 700, Remote: true, Mode: 6, DrawLimit: 1200},
		{House: 700, Remote: true, Mode: 2},
	} {
		for _, role := range []flex.Role{flex.RoleStorage, flex.RoleHybrid} {
			t.Run(fmt.Sprintf("%+v as %s", o, role), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					o := o
					o.Sun = 1500
					b := madeFor("sigenergy").with(func(now func() time.Time) plant { return strangers.NewSigenergy(now, o) }).bench(as(role, true))
					before := b.gives()
					d, e := b.take(t)
					found := b.owner()
					for _, w := range []flex.Watts{500, 3000, -800} {
						if o.Protocol == 29 && w < -flex.Watts(o.ChargeLimit) {
							continue
						}
						if err := b.steer(t, d, e, w, 4*time.Second); err != nil {
							t.Fatal(err)
						}
						near(t, "told", float64(b.gives()), float64(w), 2)
						b.truthful(t, d)
					}
					b.handedBack(t, e, found)
					time.Sleep(time.Second)
					near(t, "its owner's again", float64(b.gives()), float64(before), 2)
				})
			})
		}
	}
}

// While the switch in the app is off nothing rules, and nobody is told that it
// does.
func TestASigenergyWhoseAppForbidsItIsNotTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := madeFor("sigenergy").with(func(now func() time.Time) plant {
			return strangers.NewSigenergy(now, strangers.SigenergyOptions{House: 700, AppOff: true})
		}).bench()
		d, _ := b.take(t)
		if rec, err := d.Apply(t.Context(), b.order(1000)); err == nil && rec.Echo {
			t.Errorf("told as in force: %+v", rec)
		}
		near(t, "it serves the house", float64(b.gives()), 700, 1)
	})
}

// tallied counts what is asked on the line.
type tallied struct {
	regmap.Bus
	n int
}

func (c *tallied) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) {
	c.n++
	return c.Bus.Do(ctx, r)
}

// A plant that answers one request a second takes seconds to be handed back,
// and its nameplate says how many.
func TestTheNameplateTellsHowLongAHandBackTakes(t *testing.T) {
	for name, gap := range map[string]time.Duration{"sigenergy": time.Second, "sungrow-sh": 100 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			b := madeFor(name).bench()
			bus := &tallied{Bus: b.p}
			d := b.driver(t, bus)
			plate, err := d.Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			e := entryOf(t, d)
			if err := b.steer(t, d, &e, 1000, 4*time.Second); err != nil {
				t.Fatal(err)
			}
			bus.n = 0
			if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo {
				t.Fatalf("%+v, %v", rec, err)
			}
			if took := time.Duration(bus.n) * gap; plate.HandBack < took || plate.HandBack > 2*took {
				t.Errorf("%s: %v on the nameplate, it takes %v", name, plate.HandBack, took)
			}
		})
	}
}
