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
