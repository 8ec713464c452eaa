package sunspec_test

import (
	"context"
	"errors"
	"testing"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

var plain = drivertest.Scale{}

func word(v int) uint16 { return uint16(int16(v)) }

func apply(t *testing.T, d *sunspec.Device, want flex.Target) flex.Receipt {
	t.Helper()
	rec, err := d.Apply(t.Context(), want)
	if err != nil || !rec.Echo {
		t.Fatalf("apply %v: %+v, %v", want.Power, rec, err)
	}
	return rec
}

func snapshot(t *testing.T, d *sunspec.Device) flex.JournalEntry {
	t.Helper()
	s, err := d.Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return flex.JournalEntry{Device: s.Device, Snapshot: s}
}

// wrote compares the last writes with addresses and values.
func wrote(t *testing.T, b *drivertest.Bank, from int, want ...flex.Register) {
	t.Helper()
	got := b.Writes()[from:]
	if len(got) != len(want) {
		t.Fatalf("%d writes %v, want %d", len(got), got, len(want))
	}
	for i, w := range want {
		if got[i].Addr != w.Addr || len(got[i].Values) != len(w.Words) {
			t.Errorf("write %d: %d %v, want %d %v", i, got[i].Addr, got[i].Values, w.Addr, w.Words)
			continue
		}
		for j := range w.Words {
			if got[i].Values[j] != w.Words[j] {
				t.Errorf("write %d: %d %v, want %v", i, w.Addr, got[i].Values, w.Words)
				break
			}
		}
	}
}

func reg(b *drivertest.Bank, model uint16, off int, words ...uint16) flex.Register {
	return flex.Register{Addr: b.Addr(model, off), Words: words}
}

func TestABatteryIsPinnedOnBothSidesAndTheModeComesLast(t *testing.T) {
	b := bank(40000, battery124(plain))
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	e := snapshot(t, d)
	e.Intent = apply(t, d, set(4000)).Holds
	minus := word(-50)
	wrote(t, b, 0, reg(b, 124, 12, 50, minus, 0, 60, 0), reg(b, 124, 5, 3))
	apply(t, d, set(-4000))
	wrote(t, b, 2, reg(b, 124, 12, minus, 50, 0, 60, 0), reg(b, 124, 5, 3))
	if _, err := d.Release(t.Context(), e); err != nil {
		t.Fatal(err)
	}
	wrote(t, b, 4, reg(b, 124, 5, 0), reg(b, 124, 12, 100, 100, 0, 0, 0))
	for _, w := range b.Writes()[4:] {
		if w.Priority != modbus.Stop {
			t.Errorf("a release at priority %d", w.Priority)
		}
	}
}

func TestACapBy123IsOneWriteWithItsTimer(t *testing.T) {
	b := bank(40000, pv123(plain))
	d := open(t, b, sunspec.Config{})
	apply(t, d, limit(3360))
	if b.Addr(123, 5) != 40233 {
		t.Fatalf("WMaxLimPct at %d", b.Addr(123, 5))
	}
	wrote(t, b, 0, reg(b, 123, 5, 33, 0, 60, 0, 1))
}

func TestACapIsNeverExactlyZeroUnlessAskedFor(t *testing.T) {
	b := bank(40000, pv123(plain))
	d := open(t, b, sunspec.Config{})
	for w, pct := range map[flex.Watts]uint16{0: 0, 1: 1, 99: 1, 100: 1, 199: 1, 200: 2, 10000: 100, 50000: 100} {
		apply(t, d, limit(w))
		if got := b.Get(123, 5); got != pct {
			t.Errorf("cap %v: %d %%, want %d %%", w, got, pct)
		}
	}
}

func TestTheFirstWriteGoesOutWithoutAReadBefore(t *testing.T) {
	for _, models := range [][]drivertest.Model{battery124(plain), battery704(plain)} {
		b := bank(40000, models)
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
		snapshot(t, d)
		before := b.Reads()
		b.Fault(1, drivertest.Unsent)
		if _, err := d.Apply(t.Context(), set(1000)); !errors.Is(err, flex.ErrNotSent) {
			t.Error(err)
		}
		if n := b.Reads() - before; n != 0 {
			t.Errorf("%d reads before the first write", n)
		}
	}
}

func TestWSetHoldsWhatWasFoundToRevertTo(t *testing.T) {
	b := bank(40000, battery704(plain))
	b.Set(704, 24, 0, 1234)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	for range 2 { // a refresh keeps what was found, not what we set
		apply(t, d, set(5000))
		if b.Get(704, 27) != 1234 || b.Get(704, 30) != 0 || b.Get(704, 32) != 60 || b.Get(704, 22) != 1 {
			t.Errorf("WSetRvrt %d, EnaRvrt %d, RvrtTms %d, Ena %d", b.Get(704, 27), b.Get(704, 30), b.Get(704, 32), b.Get(704, 22))
		}
	}
	if last := b.Writes()[1]; last.Addr != b.Addr(704, 22) || len(last.Values) != 1 {
		t.Errorf("the enabling write is %+v", last)
	}
}

func TestTheGridChargesTheBatteryOnlyWithConsent(t *testing.T) {
	for _, consent := range []bool{false, true} {
		b := bank(40000, battery124(plain))
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage, GridCharge: consent})
		found := b.Control()
		e := snapshot(t, d)
		apply(t, d, set(4000))
		if b.Get(124, 17) != 0 {
			t.Error("touched for a discharge")
		}
		e.Intent = apply(t, d, set(-4000)).Holds
		if got := b.Get(124, 17) == 1; got != consent {
			t.Errorf("consent %v: ChaGriSet %v", consent, got)
		}
		if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo {
			t.Errorf("%+v, %v", rec, err)
		}
		for a, w := range b.Control() {
			if found[a] != w {
				t.Errorf("consent %v: register %d: found %d, now %d", consent, a, found[a], w)
			}
		}
	}
}

func TestConsentToGridChargeIsWithdrawnFromADeviceThatFellBack(t *testing.T) {
	b := bank(40000, battery124(plain))
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage, GridCharge: true})
	e := snapshot(t, d)
	e.Intent = apply(t, d, set(-4000)).Holds
	b.Set(124, 5, 0) // the device resets its rates, too, but keeps the consent
	b.Set(124, 12, 100, 100)
	if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo || b.Get(124, 17) != 0 {
		t.Errorf("%+v, %v, ChaGriSet %d", rec, err, b.Get(124, 17))
	}
}

func TestADeviceThatTakesNoNegativeRatesIsNotApproximated(t *testing.T) {
	clamp := func(b *drivertest.Bank, addr uint16, v []uint16) []uint16 {
		for i := range v {
			if a := addr + uint16(i); (a == b.Addr(124, 12) || a == b.Addr(124, 13)) && v[i] >= 0x8000 {
				v[i] = 0
			}
		}
		return v
	}
	b := bank(40000, battery124(plain))
	b.Hook(clamp)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	if _, err := d.Apply(t.Context(), set(4000)); !errors.Is(err, flex.ErrUnsupported) {
		t.Error(err)
	}
	if b.Get(124, 5) != 0 {
		t.Error("half an order is left in force")
	}
	n := len(b.Writes())
	if _, err := d.Apply(t.Context(), set(4000)); !errors.Is(err, flex.ErrUnsupported) || len(b.Writes()) != n {
		t.Errorf("tried again: %v", err)
	}
	b = bank(40000, battery124(plain))
	d = open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	b.Fault(1, drivertest.Refused)
	if _, err := d.Apply(t.Context(), set(4000)); !errors.Is(err, flex.ErrUnsupported) {
		t.Error(err)
	}
}

func TestAHybridsBatteryMakesUpWhatTheSunLacks(t *testing.T) {
	for _, c := range []struct{ ac, sun, want flex.Watts }{
		{5000, 1200, 3800}, {1200, 1200, 0}, {500, 1200, -700}, {-2000, 1200, -3200}, {12000, 4000, 6000}, {-20000, 1000, -8000},
	} {
		b := bank(40000, battery124(drivertest.Scale{Pct: -2}))
		b.Set(103, 14, uint16(c.sun))
		d := open(t, b, sunspec.Config{Role: flex.RoleHybrid})
		if plate, err := d.Open(t.Context()); err != nil || !plate.Follow {
			t.Errorf("control is not told to follow the sun: %+v, %v", plate, err)
		}
		snapshot(t, d)
		rec := apply(t, d, set(c.ac))
		got, _ := drivertest.On(b, nil, set(1)).Told()
		if (got - c.want).Abs() > 1 {
			t.Errorf("target %v, sun %v: battery %v, want %v", c.ac, c.sun, got, c.want)
		}
		if d := rec.Effective - got - c.sun; d.Abs() > 1 {
			t.Errorf("effective %v", rec.Effective)
		}
	}
}

func TestALimitOfOthersIsNeverRaised(t *testing.T) {
	for _, models := range [][]drivertest.Model{pv123(plain), pv704(plain)} {
		b := bank(40000, models)
		on := drivertest.On(b, nil, limit(1))
		on.Limit() // 40 %
		found := b.Control()
		d := open(t, b, sunspec.Config{AdoptLimit: true})
		e := snapshot(t, d)
		if e.Snapshot.Foreign != nil || !e.Snapshot.Controlled {
			t.Errorf("snapshot %+v", e.Snapshot)
		}
		for w, want := range map[flex.Watts]flex.Watts{8000: 4000, 4000: 4000, 2000: 2000} {
			e.Intent = apply(t, d, limit(w)).Holds
			if got, ok := on.Told(); !ok || got != want {
				t.Errorf("cap %v beneath 40 %%: told %v", w, got)
			}
		}
		on.Lapse()
		if got, ok := on.Told(); !ok || got > 4000 {
			t.Errorf("it lapsed to %v (%v)", got, ok)
		}
		if rec, err := open(t, b, sunspec.Config{AdoptLimit: true}).Release(t.Context(), e); err != nil || !rec.Echo {
			t.Errorf("%+v, %v", rec, err)
		}
		now := b.Control()
		for a, w := range found {
			if now[a] != w && a != b.Addr(704, 16) && a != b.Addr(704, 17) && a != b.Addr(704, 19) {
				t.Errorf("register %d: found %d, now %d", a, w, now[a])
			}
		}
	}
}

func TestALimitThatComesWhileWeControlIsLeft(t *testing.T) {
	b := bank(40000, pv123(plain))
	d := open(t, b, sunspec.Config{})
	e := snapshot(t, d)
	e.Intent = apply(t, d, limit(5000)).Holds
	b.Set(123, 5, 20)
	_, err := d.Apply(t.Context(), limit(5000))
	if why, ok := flex.RefusalOf(err); !ok || why.Reason != flex.ReasonLimitSetByOthers || b.Get(123, 5) != 20 {
		t.Errorf("%v, cap %d %%", err, b.Get(123, 5))
	}
}

func TestPointsThatAreNotImplementedAreWrittenAround(t *testing.T) {
	b := bank(40000, battery124(plain))
	b.Set(124, 14, 0xFFFF)
	b.Set(124, 16, 0xFFFF)
	b.Hook(nil)
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	found := b.Control()
	e := snapshot(t, d)
	b.Fault(1, drivertest.Refused)
	e.Intent = apply(t, d, set(4000)).Holds
	wrote(t, b, 1, reg(b, 124, 12, 50, word(-50)), reg(b, 124, 15, 60), reg(b, 124, 5, 3))
	if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo {
		t.Errorf("%+v, %v", rec, err)
	}
	for a, w := range b.Control() {
		if found[a] != w {
			t.Errorf("register %d: found %d, now %d", a, found[a], w)
		}
	}
}

// busFunc is a bus made of a function.
type busFunc func(context.Context, modbus.Request) (modbus.Response, error)

func (f busFunc) Do(ctx context.Context, r modbus.Request) (modbus.Response, error) { return f(ctx, r) }

func TestAnOrderThatBeganBeforeAReleaseWritesNoMore(t *testing.T) {
	b := bank(40000, battery124(plain))
	var d *sunspec.Device
	var e flex.JournalEntry
	writes := 0
	bus := busFunc(func(ctx context.Context, r modbus.Request) (modbus.Response, error) {
		res, err := b.Do(ctx, r)
		if r.Func != modbus.WriteMultiple {
			return res, err
		}
		if writes++; writes == 1 { // the rates are there, the mode is not, when the release comes
			if rec, rerr := d.Release(ctx, e); rerr != nil || !rec.Echo {
				t.Errorf("%+v, %v", rec, rerr)
			}
		}
		return res, err
	})
	d = open(t, bus, sunspec.Config{Role: flex.RoleStorage})
	e = snapshot(t, d)
	if _, err := d.Apply(t.Context(), set(4000)); !errors.Is(err, flex.ErrNotSent) {
		t.Error(err)
	}
	if b.Get(124, 5) != 0 || b.Get(124, 12) != 100 {
		t.Errorf("mode %d, rate %d", b.Get(124, 5), b.Get(124, 12))
	}
}
