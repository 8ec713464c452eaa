package sunspec_test

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

// A day of dispatches, refreshed every 20 s, as the device sees it: what it
// keeps changes a few times, and the receipts tell how often.
func TestADayWearsOutLittle(t *testing.T) {
	const dispatches, budget = 12, 100
	kinds := []struct {
		name   string
		models []drivertest.Model
		cfg    sunspec.Config
		orders []flex.Target
		keeps  map[string][2]int // name to model and offset
	}{
		{"a battery by 124", battery124(drivertest.Scale{Pct: -2}), sunspec.Config{Role: flex.RoleStorage, GridCharge: true}, []flex.Target{set(4000), set(-3000)},
			map[string][2]int{"124.InOutWRte_RvrtTms": {124, 15}, "124.ChaGriSet": {124, 17}}},
		{"an inverter by 123", pv123(drivertest.Scale{Pct: -2}), sunspec.Config{}, []flex.Target{limit(4000), limit(2000)},
			map[string][2]int{"123.WMaxLimPct_RvrtTms": {123, 7}}},
	}
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bank(40000, k.models)
				stored, held := map[string]int{}, map[string]uint16{} // all found 0
				b.Hook(func(b *drivertest.Bank, addr uint16, values []uint16) []uint16 {
					for name, p := range k.keeps {
						at := int(b.Addr(uint16(p[0]), p[1])) - int(addr)
						if at >= 0 && at < len(values) && values[at] != held[name] {
							stored[name]++
							held[name] = values[at]
						}
					}
					return values
				})
				told := map[string]int{}
				d := open(t, b, k.cfg)
				note := func(rec flex.Receipt) {
					for _, r := range rec.Wrote {
						if r.Persistent {
							told[r.Name]++
						}
					}
				}
				for range dispatches {
					e := snapshot(t, d)
					for i := range 180 { // an hour
						rec := apply(t, d, k.orders[i/45%2])
						note(rec)
						e.Intent = rec.Holds
						time.Sleep(20 * time.Second)
					}
					rec, err := d.Release(t.Context(), e)
					if err != nil || !rec.Echo {
						t.Fatalf("%+v, %v", rec, err)
					}
					note(rec)
					time.Sleep(time.Hour)
				}
				for name := range k.keeps {
					if stored[name] == 0 || stored[name] > 2*dispatches || stored[name] > budget || told[name] != stored[name] {
						t.Errorf("%s: stored %d times, told %d", name, stored[name], told[name])
					}
				}
				if len(told) != len(k.keeps) {
					t.Errorf("told of %v", told)
				}
				if n := len(b.Writes()); n < 180*dispatches {
					t.Errorf("only %d writes: the timer was not re-armed", n)
				}
			})
		})
	}
}

// Many dispatches in a day: the reversion time is put back as long as that
// wears out little, stays armed after, and comes back on another day.
func TestManyDispatchesInADayFitTheBudget(t *testing.T) {
	const dispatches, budget = 90, 100
	for _, k := range []struct {
		name   string
		models []drivertest.Model
		role   flex.Role
		order  flex.Target
		timer  [2]int
	}{
		{"124", battery124(plain), flex.RoleStorage, set(4000), [2]int{124, 15}},
		{"123", pv123(plain), flex.RolePV, limit(4000), [2]int{123, 7}},
	} {
		t.Run(k.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := bank(40000, k.models)
				d := open(t, b, sunspec.Config{Role: k.role, GridCharge: true})
				plate, err := d.Open(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				toll := plate.Tolls[0]
				if int(toll.Register.Addr) != int(b.Addr(uint16(k.timer[0]), k.timer[1])) || toll.Dispatch != 2 || toll.Day > budget {
					t.Errorf("toll %+v", toll)
				}
				timer := func() uint16 { return b.Get(uint16(k.timer[0]), k.timer[1]) }
				found, worn, told := b.Control(), 0, 0
				one := func() flex.Receipt {
					e := snapshot(t, d)
					rec := apply(t, d, k.order)
					e.Intent = rec.Holds
					back, err := d.Release(t.Context(), e)
					if err != nil || !back.Echo || back.Foreign {
						t.Fatalf("%+v, %v", back, err)
					}
					for _, r := range append(rec.Wrote, back.Wrote...) {
						if r.Persistent {
							worn++
						}
					}
					if again, err := d.Release(t.Context(), e); err != nil || !again.Echo || len(again.Wrote) > 0 {
						t.Fatalf("again: %+v, %v", again, err)
					}
					return back
				}
				for n := range dispatches {
					back := one()
					if n == 0 && timer() != 0 {
						t.Error("the first was not put back")
					}
					if left := timer() != 0; left != (len(back.Problems) > 0) {
						t.Errorf("left armed: %v, told %v", left, back.Problems)
					}
					told += len(back.Problems)
					time.Sleep(15 * time.Minute)
				}
				if worn > toll.Day || told == 0 {
					t.Errorf("%d persistent writes, at most %d were told; %d were told of", worn, toll.Day, told)
				}
				time.Sleep(24 * time.Hour)
				one()
				for a, w := range b.Control() {
					if found[a] != w {
						t.Errorf("register %d: found %d, now %d", a, found[a], w)
					}
				}
			})
		})
	}
}
