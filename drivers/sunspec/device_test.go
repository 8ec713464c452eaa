package sunspec_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/drivertest"
	"flexd/drivers/sunspec"
)

func TestANameplateIsWhatTheDeviceSays(t *testing.T) {
	s := drivertest.Scale{Pct: -1}
	for _, c := range []struct {
		name   string
		role   flex.Role
		models []drivertest.Model
		want   flex.Nameplate
	}{
		{"pv by 123", "", pv123(s), flex.Nameplate{Role: flex.RolePV, MaxPower: 10000, Method: "sunspec 123 WMaxLimPct", Step: 10, Revert: true,
			Can: []flex.Capability{flex.CanCap, flex.CanMeasure}}},
		{"battery by 124", flex.RoleStorage, battery124(s), flex.Nameplate{Role: flex.RoleStorage, MaxPower: 10000, MaxCharge: 8000, MaxDischarge: 8000, Energy: 20000,
			Method: "sunspec 124 StorCtl_Mod", Step: 8, Revert: true, Can: []flex.Capability{flex.CanSet, flex.CanIdle, flex.CanCap, flex.CanMeasure, flex.CanSoC}}},
		{"battery by 704", flex.RoleStorage, battery704(s), flex.Nameplate{Role: flex.RoleStorage, MaxPower: 10000, MaxCharge: 8000, MaxDischarge: 8000, Energy: 20000,
			Method: "sunspec 704 WSet", Step: 1, Revert: true, Can: []flex.Capability{flex.CanSet, flex.CanIdle, flex.CanCap, flex.CanMeasure, flex.CanSoC}}},
		{"a meter", "", []drivertest.Model{drivertest.Meter(0, s)}, flex.Nameplate{Role: flex.RoleMeter, Can: []flex.Capability{flex.CanMeasure}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := open(t, bank(40000, c.models), sunspec.Config{Role: c.role, Sign: sunspec.ExportPositive}).Open(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			w := c.want
			if got.Manufacturer != "Maker" || got.Model != "Thing" || got.Serial != "SN-1" || got.Firmware != "1.2.3" || len(got.Detail) == 0 {
				t.Errorf("identity %+v", got)
			}
			if got.Role != w.Role || got.MaxPower != w.MaxPower || got.MaxCharge != w.MaxCharge || got.MaxDischarge != w.MaxDischarge || got.Energy != w.Energy ||
				got.Method != w.Method || got.Step != w.Step || got.Revert != w.Revert || !slices.Equal(got.Can, w.Can) {
				t.Errorf("got %+v\nwant %+v", got, w)
			}
		})
	}
}

func TestAMapThatMovedIsFoundAgain(t *testing.T) {
	b := bank(40000, pv123(plain))
	d := open(t, b, sunspec.Config{})
	if _, err := d.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	b.Set(103, 0, 101)
	if _, err := d.Read(t.Context()); !errors.Is(err, sunspec.ErrMoved) {
		t.Errorf("moved: %v", err)
	}
	if r, err := d.Read(t.Context()); err != nil || r.Power == nil || *r.Power != 1200 {
		t.Errorf("found again: %v, %v", r.Power, err)
	}
}

// A device exchanged while the driver runs is noticed within a minute, and
// before anything is written in its journal's name.
func TestAnExchangedDeviceIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bank(40000, battery124(plain))
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
		e := snapshot(t, d)
		e.Intent = apply(t, d, set(4000)).Holds
		b.Set(1, 50, 0x5858)
		time.Sleep(2 * time.Minute)
		n := len(b.Writes())
		for range 2 {
			if _, err := d.Release(t.Context(), e); err == nil || len(b.Writes()) != n {
				t.Errorf("released another device: %v", err)
			}
		}
		if _, err := d.Release(t.Context(), e); err == nil || !strings.Contains(err.Error(), "serial number") {
			t.Error(err)
		}
	})
}

func TestAnOldImageIsNotWrittenUpon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bank(40000, battery124(plain))
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
		snapshot(t, d)
		b.Set(124, 2, 4000) // WChaMax halves
		time.Sleep(4 * time.Second)
		apply(t, d, set(2000))
		if got := b.Get(124, 12); got != 50 {
			t.Errorf("OutWRte %d %%, want 50 %% of the new maximum", got)
		}
	})
}

func TestAScaleThatChangedMeanwhileIsNoticedInTheReadBack(t *testing.T) {
	b := bank(40000, battery124(plain))
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	snapshot(t, d)
	b.Set(124, 25, word(-1))
	rec := apply(t, d, set(4000))
	if got := b.Get(124, 12); got != 500 || rec.Effective != 4000 {
		t.Errorf("OutWRte %d, effective %v", got, rec.Effective)
	}
}

func TestNeutralLeavesCapsAndReportsThem(t *testing.T) {
	b := bank(40000, battery124(plain))
	b.Set(123, 5, 40, 0, 0, 0, 1)
	b.Set(124, 5, 3)
	b.Set(124, 12, 50, word(-50))
	rec, err := open(t, b, sunspec.Config{Role: flex.RoleStorage}).Neutral(t.Context())
	if err != nil || !rec.Echo || len(rec.Problems) != 1 || rec.Problems[0].Field != "123.WMaxLim_Ena" {
		t.Errorf("%+v, %v", rec, err)
	}
	if b.Get(124, 5) != 0 || b.Get(124, 12) != 100 || b.Get(124, 13) != 100 || b.Get(123, 9) != 1 || b.Get(123, 5) != 40 {
		t.Errorf("mode %d, rates %d %d, cap %d %d", b.Get(124, 5), b.Get(124, 12), b.Get(124, 13), b.Get(123, 9), b.Get(123, 5))
	}
	before := len(b.Writes())
	if rec, err = open(t, b, sunspec.Config{Role: flex.RoleStorage}).Neutral(t.Context()); err != nil || !rec.Echo || len(b.Writes()) != before {
		t.Errorf("again: %+v, %v", rec, err)
	}
}

func TestASetpointFoundInForceIsPutBack(t *testing.T) {
	b := bank(40000, battery124(plain))
	b.Set(124, 5, 3)
	b.Set(124, 12, 20, word(-20))
	d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
	e := snapshot(t, d)
	if !e.Snapshot.Controlled || e.Snapshot.Foreign != nil {
		t.Errorf("snapshot %+v", e.Snapshot)
	}
	e.Intent = apply(t, d, set(4000)).Holds
	if rec, err := d.Release(t.Context(), e); err != nil || !rec.Echo || b.Get(124, 5) != 3 || b.Get(124, 12) != 20 {
		t.Errorf("%+v, %v, mode %d", rec, err, b.Get(124, 5))
	}
}

func TestSettingsAreNeverWritten(t *testing.T) {
	for _, models := range [][]drivertest.Model{battery124(plain), battery704(plain), pv123(plain), pv704(plain)} {
		b := bank(40000, models)
		role, order := flex.RoleStorage, set
		if !b.Has(124) && !b.Has(713) {
			role, order = flex.RolePV, limit
		}
		d := open(t, b, sunspec.Config{Role: role, GridCharge: true})
		e := snapshot(t, d)
		for _, w := range []flex.Watts{0, 3000, 7000} {
			e.Intent = apply(t, d, order(w)).Holds
		}
		_, _ = d.Release(t.Context(), e)
		_, _ = d.Neutral(t.Context())
		for _, w := range b.Writes() {
			for i := range w.Values {
				for _, no := range [][2]int{{121, 2}, {124, 2}, {124, 7}, {702, 26}} {
					if a := w.Addr + uint16(i); b.Has(uint16(no[0])) && a == b.Addr(uint16(no[0]), no[1]) {
						t.Errorf("register %d of model %d was written", no[1], no[0])
					}
				}
			}
		}
	}
}
