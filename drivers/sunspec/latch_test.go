package sunspec_test

import (
	"strings"
	"testing"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

// latching is an inverter that obeys the cap that stood in its registers when
// it was enabled, whatever is read back later.
func latching(maker string) (b *drivertest.Bank, obeyed func() (pct uint16, on bool)) {
	s := drivertest.Scale{}
	b = drivertest.NewBank(40000, append([]drivertest.Model{drivertest.Common(65, maker, "Symo GEN24", "SN-1")}, pv123(s)...)...)
	regs := map[uint16]uint16{b.Addr(123, 5): 100, b.Addr(123, 9): 0}
	var held uint16
	b.Hook(func(b *drivertest.Bank, addr uint16, values []uint16) []uint16 {
		ena := b.Addr(123, 9)
		was := regs[ena]
		for i, v := range values {
			regs[addr+uint16(i)] = v
		}
		if was == 0 && regs[ena] == 1 {
			held = regs[b.Addr(123, 5)]
		}
		return values
	})
	return b, func() (uint16, bool) { return held, regs[b.Addr(123, 9)] == 1 }
}

func TestACapThatLatchesIsSwitchedWhereItChanges(t *testing.T) {
	b, obeyed := latching("Fronius")
	d := open(t, b, sunspec.Config{Role: flex.RolePV})
	if plate, err := d.Open(t.Context()); err != nil || !strings.Contains(strings.Join(plate.Detail, "\n"), "not capped") {
		t.Errorf("its nameplate does not say that it is not capped for a moment: %v, %v", plate.Detail, err)
	}
	e := snapshot(t, d)
	for i, c := range []struct {
		power  flex.Watts
		pct    uint16
		writes int // so far
	}{{5000, 50, 1}, {3000, 30, 3}, {3000, 30, 4}, {8000, 80, 6}} {
		e.Intent = apply(t, d, limit(c.power)).Holds
		if pct, on := obeyed(); pct != c.pct || !on {
			t.Errorf("order %d: the device obeys %d %%, %v", i, pct, on)
		}
		if n := len(b.Writes()); n != c.writes {
			t.Errorf("order %d: %d writes, want %d", i, n, c.writes)
		}
	}
	if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo {
		t.Fatalf("%+v, %v", rec, err)
	}
	if _, on := obeyed(); on {
		t.Error("the cap is still in force")
	}
}

// Nobody else's device is uncapped for a moment.
func TestOtherMakersCapsAreNotSwitched(t *testing.T) {
	b, _ := latching("Maker")
	d := open(t, b, sunspec.Config{Role: flex.RolePV})
	snapshot(t, d)
	apply(t, d, limit(5000))
	apply(t, d, limit(3000))
	if n := len(b.Writes()); n != 2 {
		t.Errorf("%d writes", n)
	}
}
