package sim

import (
	"math"
	"testing"
	"time"
)

// bench is a plant whose time is moved by hand.
type bench struct {
	*Plant
	t  *testing.T
	at time.Time
}

func newBench(t *testing.T, load float64) *bench {
	b := &bench{t: t, at: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	b.Plant = NewPlant(Config{Load: func(time.Time) float64 { return load }, Now: func() time.Time { return b.at }})
	t.Cleanup(b.Close)
	return b
}

func (b *bench) pass(d time.Duration) {
	b.at = b.at.Add(d)
	b.Step(b.at)
}

// tell writes registers as a client would.
func (b *bench) tell(d *Device, model int, name string, words ...uint16) {
	b.t.Helper()
	addr, _, ok := d.Point(model, name)
	if !ok {
		b.t.Fatalf("no %d.%s", model, name)
	}
	r := request{unit: 1, fn: funcWriteMany, addr: int(addr), count: len(words), words: words}
	if out := d.serve(r, b.at); out[0] != funcWriteMany {
		b.t.Fatalf("%d.%s refused: % x", model, name, out)
	}
}

func (b *bench) want(what string, got, want float64) {
	b.t.Helper()
	if math.Abs(got-want) > 1e-6 {
		b.t.Errorf("%s is %g, want %g", what, got, want)
	}
}

func neg(v uint16) uint16 { return -v }

func TestBatteryCoversTheHouseAtRest(t *testing.T) {
	for _, row := range []struct {
		name                string
		load, sun, soc      float64
		want                float64
		reserve, dischargeW float64
	}{
		{"the night: discharge what the house draws", 1500, 0, 0.5, 1500, 0, 0},
		{"surplus sun is stored", 500, 3000, 0.5, -2500, 0, 0},
		{"never above its rating", 9000, 0, 0.5, 5000, 0, 0},
		{"never above the battery's own maximum", 9000, 0, 0.5, 3000, 0, 3000},
		{"nothing below the reserve", 1500, 0, 0.2, 0, 0.2, 0},
		{"nothing into a full battery", 500, 3000, 1, 0, 0, 0},
		{"nothing out of an empty one", 1500, 0, 0, 0, 0, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, row.load)
			must(b.AddPV(PV{Rated: 6000, Sun: func(time.Time) float64 { return row.sun }}))(t)
			bat := must(b.AddBattery(Battery{Rated: 5000, Discharge: row.dischargeW, Capacity: 10_000, SoC: row.soc, Reserve: row.reserve}))(t)
			b.pass(20 * time.Millisecond)
			b.want("the battery", bat.Power(), row.want)
			b.want("the grid", b.Grid(), row.sun+row.want-row.load)
		})
	}
}

// Forced rates, in percent of 5 kW at scale factor 0: house draws 1.5 kW, no sun.
func TestStorageControl(t *testing.T) {
	for _, row := range []struct {
		name        string
		mode        uint16
		out, in     uint16
		gridCharge  bool
		want        float64
		noNegatives bool
	}{
		{"no mode: the rates mean nothing", 0, 10, neg(10), true, 1500, false},
		{"both sides pinned: exactly that power out", 3, 60, neg(60), true, 3000, false},
		{"both sides pinned: exactly that power in", 3, neg(60), 60, true, -3000, false},
		{"both at zero: rest", 3, 0, 0, true, 0, false},
		{"one-sided forced discharge is only a minimum", 1, 100, neg(10), true, 1500, false},
		{"one-sided forced discharge above the house", 1, 100, neg(80), true, 4000, false},
		{"one-sided limit on discharge", 2, 10, 100, true, 500, false},
		{"one-sided forced charge", 2, neg(40), 100, true, -2000, false},
		{"charging from the grid not allowed", 3, neg(60), 60, false, 0, false},
		{"bounds that contradict: rest", 3, 10, neg(60), true, 0, false},
		{"negative rates not understood", 3, 60, neg(60), true, 1500, true},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := newBench(t, 1500)
			bat := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, GridCharge: row.gridCharge,
				Options: Options{NoForcedRates: row.noNegatives}}))(t)
			b.tell(bat, 124, "OutWRte", row.out, row.in)
			b.tell(bat, 124, "StorCtl_Mod", row.mode)
			b.pass(20 * time.Millisecond)
			b.want("the battery", bat.Power(), row.want)
			if bat.Controlled() != (row.mode != 0) {
				t.Error("wrong on whether it is controlled")
			}
		})
	}
}

func TestPercentScaleFactorIsObeyed(t *testing.T) {
	for sf, raw := range map[int]uint16{0: 33, -1: 336, -2: 3361} {
		b := newBench(t, 0)
		bat := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, Options: Options{PctSF: sf}}))(t)
		pv := must(b.AddPV(PV{Rated: 6000, Sun: func(time.Time) float64 { return 6000 }, Options: Options{PctSF: sf}}))(t)
		b.tell(bat, 124, "OutWRte", raw, neg(raw))
		b.tell(bat, 124, "StorCtl_Mod", 3)
		b.tell(pv, 123, "WMaxLimPct", raw, 0, 0, 0, 1)
		b.pass(20 * time.Millisecond)
		b.want("the battery", bat.Power(), float64(raw)*math.Pow10(sf)*50)
		b.want("the sun", pv.Power(), float64(raw)*math.Pow10(sf)*60)
	}
}

func TestDERSetpoint(t *testing.T) {
	b := newBench(t, 1500)
	bat := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, DER: true}))(t)
	pv := must(b.AddPV(PV{Rated: 6000, DER: true}))(t)
	b.tell(bat, 704, "WSetMod", 1, 0xFFFF, 0xF448) // watts, -3000
	b.pass(20 * time.Millisecond)
	if bat.Power() == -3000 {
		t.Error("acts before it is enabled")
	}
	b.tell(bat, 704, "WSetEna", 1)
	b.tell(pv, 704, "WMaxLimPctEna", 1, 10)
	b.pass(20 * time.Millisecond)
	b.want("the battery", bat.Power(), -3000)
	b.want("the sun", pv.Power(), 600)
	b.tell(bat, 704, "WSetMod", 0) // per cent of WMax
	b.tell(bat, 704, "WSetPct", 40)
	b.pass(20 * time.Millisecond)
	b.want("the battery", bat.Power(), 2000)
	b.tell(bat, 704, "WMaxLimPctEna", 1, 20)
	b.pass(20 * time.Millisecond)
	b.want("the capped battery", bat.Power(), 1000)
	if src, _ := bat.Value(701, "ThrotSrc"); src != 3 {
		t.Errorf("ThrotSrc %g", src)
	}
	soc, ok := bat.Value(713, "SoC")
	if !ok || math.Abs(soc-100*bat.SoC()) > 0.01 {
		t.Errorf("713.SoC %g, truly %g", soc, bat.SoC())
	}
}

func TestHybridSharesItsInverter(t *testing.T) {
	b := newBench(t, 1000)
	h := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, Sun: func(time.Time) float64 { return 3000 }}))(t)
	b.pass(20 * time.Millisecond)
	b.want("at rest", h.Power(), 1000)
	b.want("its battery", h.Battery(), -2000)
	b.tell(h, 124, "OutWRte", 60, neg(60))
	b.tell(h, 124, "StorCtl_Mod", 3)
	b.pass(20 * time.Millisecond)
	if h.Power() > 5000 {
		t.Errorf("%g W through an inverter of 5000 W", h.Power())
	}
	b.tell(h, 124, "OutWRte", 20, neg(20))
	b.pass(20 * time.Millisecond)
	b.want("battery 1 kW and sun 3 kW", h.Power(), 4000)
}

func TestReversionTimers(t *testing.T) {
	type row struct {
		name  string
		der   bool
		opt   Options
		order func(*bench, *Device)
		again func(*bench, *Device) // the refresh after 4 of 6 s
		held  bool                  // still in force 4 s after the refresh, 8 s after the order
		later bool                  // and 7 s after the refresh
	}
	rates := func(b *bench, d *Device) { b.tell(d, 124, "OutWRte", 60, neg(60), 0, 6) }
	mode := func(b *bench, d *Device) { b.tell(d, 124, "StorCtl_Mod", 3) }
	force := func(b *bench, d *Device) { rates(b, d); mode(b, d) }
	limit := func(b *bench, d *Device) { b.tell(d, 123, "WMaxLimPct", 10, 0, 6, 0, 1) }
	conn := func(b *bench, d *Device) { b.tell(d, 123, "Conn_WinTms", 0, 6, 0) }
	value := func(b *bench, d *Device) {
		b.tell(d, 704, "WSetMod", 1, 0, 3000)
		b.tell(d, 704, "WSetEnaRvrt", 0, 0, 6)
	}
	set := func(b *bench, d *Device) { value(b, d); b.tell(d, 704, "WSetEna", 1) }
	none := func(*bench, *Device) {}
	for _, r := range []row{
		{"124 alone lapses", false, Options{}, force, none, false, false},
		{"124 refreshed by its rates", false, Options{}, force, rates, true, false},
		{"124 refreshed by its mode", false, Options{}, force, mode, true, false},
		{"124 that never reverts", false, Options{NeverReverts: true}, force, none, true, true},
		{"123 alone lapses", false, Options{}, limit, none, false, false},
		{"123 refreshed", false, Options{}, limit, limit, true, false},
		{"123.Conn lapses", false, Options{}, conn, none, false, false},
		{"704 alone lapses", true, Options{}, set, none, false, false},
		{"704 refreshed by its value", true, Options{}, set, value, true, false},
		{"704 that wants its enable: by value", true, Options{RearmOnEnable: true}, set, value, false, false},
		{"704 that wants its enable: by enable", true, Options{RearmOnEnable: true}, set, set, true, false},
	} {
		t.Run(r.name, func(t *testing.T) {
			b := newBench(t, 1500)
			d := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, DER: r.der, Options: r.opt}))(t)
			rest := d.Power()
			r.order(b, d)
			b.pass(20 * time.Millisecond)
			if !d.Controlled() || d.Power() == rest {
				t.Fatalf("not in force: %g W", d.Power())
			}
			b.pass(4 * time.Second)
			r.again(b, d)
			b.pass(4 * time.Second)
			if d.Controlled() != r.held {
				t.Errorf("in force after the first time: %v", d.Controlled())
			}
			b.pass(3 * time.Second)
			if d.Controlled() != r.later || (d.Power() == rest) == r.later {
				t.Errorf("in force after the second time: %v, %g W", d.Controlled(), d.Power())
			}
		})
	}
}

func TestDERRevertsToWhatItWasToldAndCountsDown(t *testing.T) {
	b := newBench(t, 1500)
	d := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, DER: true}))(t)
	b.tell(d, 704, "WSetMod", 1, 0, 3000, 0, 700) // value 3000, on reversion 700
	b.tell(d, 704, "WSetEnaRvrt", 1, 0, 10)       // still enabled then
	b.tell(d, 704, "WSetEna", 1)
	b.pass(4 * time.Second)
	if left, _ := d.Value(704, "WSetRvrtRem"); left != 6 {
		t.Errorf("%g s left", left)
	}
	b.pass(7 * time.Second)
	b.want("the battery", d.Power(), 700)
	if left, _ := d.Value(704, "WSetRvrtRem"); left != 0 {
		t.Errorf("%g s left", left)
	}
}

func TestIgnoringDeviceEchoesAndDoesNothing(t *testing.T) {
	b := newBench(t, 1500)
	d := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, Options: Options{IgnoresControl: true}}))(t)
	b.tell(d, 124, "OutWRte", 60, neg(60))
	b.tell(d, 124, "StorCtl_Mod", 3)
	b.pass(time.Second)
	b.want("the battery", d.Power(), 1500)
	if v, _ := d.Value(124, "InWRte"); v != -60 {
		t.Errorf("InWRte reads %g", v)
	}
	if act, _ := d.Value(122, "StActCtl"); act != 0 {
		t.Error("it says it acts")
	}
}

func TestRampLimitsTheWayThere(t *testing.T) {
	b := newBench(t, 0)
	d := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5, Options: Options{RampRate: 1000}}))(t)
	b.tell(d, 124, "OutWRte", 60, neg(60))
	b.tell(d, 124, "StorCtl_Mod", 3)
	for _, want := range []float64{1000, 2000, 3000, 3000} {
		b.pass(time.Second)
		b.want("the battery", d.Power(), want)
	}
}

func TestEnergyAddsUp(t *testing.T) {
	b := newBench(t, 1000)
	m := must(b.AddMeter(Meter{}))(t)
	d := must(b.AddBattery(Battery{Rated: 5000, Capacity: 10_000, SoC: 0.5}))(t)
	b.tell(d, 124, "OutWRte", 60, neg(60))
	b.tell(d, 124, "StorCtl_Mod", 3)
	b.pass(30 * time.Minute) // 3 kW out, 2 kW exported
	b.want("the state of charge", d.SoC(), 0.35)
	if v, _ := m.Value(203, "TotWhExp"); v != 1000 {
		t.Errorf("exported %g Wh", v)
	}
	b.tell(d, 124, "StorCtl_Mod", 0)
	b.pass(4 * time.Hour) // 1 kW until empty after 3.5 h, then imported
	b.want("the state of charge", d.SoC(), 0)
	if v, _ := m.Value(203, "TotWhImp"); v < 495 || v > 505 {
		t.Errorf("imported %g Wh", v)
	}
}

func TestMeterShowsTheTruthInItsOwnSign(t *testing.T) {
	for _, importPositive := range []bool{false, true} {
		for _, model := range []int{201, 203} {
			b := newBench(t, 1500)
			must(b.AddPV(PV{Rated: 6000, Sun: func(time.Time) float64 { return 4000 }}))(t)
			m := must(b.AddMeter(Meter{Model: model, ImportPositive: importPositive, Range: 100_000}))(t)
			b.pass(time.Second)
			b.want("the grid", b.Grid(), 2500)
			shown, _ := m.Value(model, "W")
			want := 2500.0
			if importPositive {
				want = -want
			}
			b.want("the register", shown, want)
		}
	}
}

func TestConfigurationsThatMakeNoSense(t *testing.T) {
	p := NewPlant(Config{})
	defer p.Close()
	other := NewPlant(Config{})
	defer other.Close()
	foreign := must(other.AddServer(ServerConfig{}))(t)
	s := must(p.AddServer(ServerConfig{}))(t)
	must(p.AddPV(PV{Rated: 1, Options: Options{Server: s}}))(t)
	for name, err := range map[string]error{
		"no rating":      second(p.AddPV(PV{})),
		"no capacity":    second(p.AddBattery(Battery{Rated: 1})),
		"overfull":       second(p.AddBattery(Battery{Rated: 1, Capacity: 1, SoC: 2})),
		"not a number":   second(p.AddPV(PV{Rated: math.NaN()})),
		"meter model":    second(p.AddMeter(Meter{Model: 103})),
		"scale factor":   second(p.AddPV(PV{Rated: 1, Options: Options{PctSF: 1}})),
		"unit taken":     second(p.AddPV(PV{Rated: 1, Options: Options{Server: s}})),
		"another plant":  second(p.AddPV(PV{Rated: 1, Options: Options{Server: foreign}})),
		"backwards ramp": second(p.AddPV(PV{Rated: 1, Options: Options{RampRate: -1}})),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// Every shape of map must be walkable from its marker to its end.
func TestChainsCanBeWalked(t *testing.T) {
	for _, base := range []Base{Base40000, Base0, Base50000} {
		for _, vendor := range []bool{false, true} {
			b := newBench(t, 0)
			o := Options{Base: base, Vendor: vendor, ShortCommon: vendor}
			must(b.AddPV(PV{Rated: 6000, Options: o}))(t)
			must(b.AddBattery(Battery{Rated: 250_000, Capacity: 1e6, Options: o}))(t)
			must(b.AddBattery(Battery{Rated: 5000, Capacity: 1e4, DER: true, Options: o}))(t)
			must(b.AddMeter(Meter{Options: o}))(t)
			for _, d := range b.Devices() {
				addr, words := d.Registers()
				if int(addr) != base.addr() || words[0] != 0x5375 || words[1] != 0x6E53 {
					t.Fatalf("no marker at %d", base.addr())
				}
				at, models := 2, 0
				for words[at] != 0xFFFF {
					at, models = at+2+int(words[at+1]), models+1
				}
				if at != len(words)-2 || models < 2 {
					t.Errorf("%d models, end at %d of %d", models, at, len(words))
				}
			}
		}
	}
}
