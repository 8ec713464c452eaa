package regmap_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	strangers "flexd/drivers/drivertest/makers"
	"flexd/drivers/regmap"
)

func refusedWith(t *testing.T, err error, word string) {
	t.Helper()
	why, ok := flex.RefusalOf(err)
	if !ok || !strings.Contains(why.Text, word) {
		t.Errorf("%v, want a refusal with %q", err, word)
	}
}

// onHuawei takes a Huawei over.
func onHuawei(t *testing.T, role flex.Role, o strangers.HuaweiOptions) (*bench, *regmap.Device, *flex.JournalEntry) {
	b := madeFor("huawei-luna").with(func(now func() time.Time) plant { return strangers.NewHuawei(now, o) }).bench(as(role, true))
	if o.WLAN {
		b.unit = 0
	}
	d, e := b.take(t)
	return b, d, e
}

// In the sun no forced command takes the harvest down: what would is refused,
// and what is above the harvest is given.
func TestAHuaweiInTheSun(t *testing.T) {
	for _, soc := range []float64{100, 50, 5} {
		for _, role := range []flex.Role{flex.RoleStorage, flex.RoleHybrid} {
			t.Run(fmt.Sprintf("%s at %.0f %%", role, soc), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					b, d, e := onHuawei(t, role, strangers.HuaweiOptions{Sun: 3000, House: 400, SoC: soc})
					found, before := b.owner(), b.dev.Watts()
					for _, w := range []flex.Watts{500, 0, 2900, -100} {
						err := b.steer(t, d, e, w, 10*time.Second)
						refusedWith(t, err, map[bool]string{true: "full", false: "PV"}[w < 0 && soc == 100 && err != nil && strings.Contains(err.Error(), "full")])
						if p := b.dev.Watts(); p.PV < 2999 || math.Abs(p.Grid-before.Grid) > 1 {
							t.Errorf("%v: the PV gives %.0f W, the site %.0f W, before %.0f W", w, p.PV, p.Grid, before.Grid)
						}
					}
					b.handedBack(t, e, found)
				})
			})
		}
	}
	synctest.Test(t, func(t *testing.T) { // told at its own pace while the sun moves
		b, d, e := onHuawei(t, flex.RoleHybrid, strangers.HuaweiOptions{Sun: 1000, House: 400, WLAN: true})
		for sun := 1000.0; sun < 2000; sun += 20 {
			b.dev.SetSun(sun)
			if int(sun)%200 == 0 {
				if rec, err := d.Apply(t.Context(), b.order(-1500)); err != nil || !rec.Echo {
					t.Fatalf("%+v, %v", rec, err)
				} else {
					e.Intent = rec.Holds
				}
			}
			if rec, err := d.Verify(t.Context(), b.order(-1500)); err != nil || !rec.Echo {
				t.Fatalf("%+v, %v", rec, err)
			}
			if p := b.dev.Watts(); p.PV < sun-1 {
				t.Fatalf("the PV gives %.0f of %.0f W", p.PV, sun)
			}
			time.Sleep(time.Second)
		}
		if err := b.steer(t, d, e, -1500, time.Minute); err != nil {
			t.Fatal(err)
		}
		near(t, "in moving sun", float64(b.gives()), -1500, 200)
	})
	synctest.Test(t, func(t *testing.T) {
		b, d, e := onHuawei(t, flex.RoleHybrid, strangers.HuaweiOptions{Sun: 2000, House: 400})
		found := b.owner()
		for _, w := range []flex.Watts{4000, -1500} {
			if err := b.steer(t, d, e, w, 2*time.Minute); err != nil {
				t.Fatal(err)
			}
			near(t, "above the harvest", float64(b.gives()), float64(w), 30)
			b.truthful(t, d)
			b.handedBack(t, e, found)
			time.Sleep(20 * time.Second)
			near(t, "the harvest is back", b.dev.Watts().PV, 2000, 1)
			*e = entryOf(t, d)
		}
		if err := b.steer(t, d, e, 4000, 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		refusedWith(t, b.steer(t, d, e, 500, time.Second), "PV") // its own command hides what the PV could give
		b.handedBack(t, e, found)
		*e = entryOf(t, d)
		refusedWith(t, b.steer(t, d, e, 500, time.Second), "PV") // not recovered yet
	})
}

// A battery that is full, or not available, is not written to again and again.
func TestAHuaweiThatIsFullOrLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, d, e := onHuawei(t, flex.RoleStorage, strangers.HuaweiOptions{SoC: 99.95, FromGrid: true})
		_ = b.steer(t, d, e, -2000, 2*time.Minute)
		refusedWith(t, b.steer(t, d, e, -2000, time.Second), "full")
		n := len(b.p.writes)
		for range 30 {
			_ = b.steer(t, d, e, -2000, time.Second)
			time.Sleep(time.Second)
		}
		if more := len(b.p.writes) - n; more > 0 {
			t.Errorf("%d writes to a full battery", more)
		}
		b.dev.(*strangers.Huawei).SetLost(true)
		r, err := d.Read(t.Context())
		if err != nil || r.Battery != nil || r.SoC != nil || r.Power != nil {
			t.Errorf("%+v, %v", r, err)
		}
	})
}
