package flex

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func TestParseDecimalIsExactOrAnError(t *testing.T) {
	for _, tc := range []struct {
		text string
		unit Watts
		want Watts
		bad  string
	}{
		{"0.05000", Megawatt, 50_000, ""}, {"0.00001", Megawatt, 10, ""}, {"0.000001", Megawatt, 1, ""}, {"12", Kilowatt, 12_000, ""},
		{"-1.5", Kilowatt, -1500, ""}, {"0", Megawatt, 0, ""}, {"10000", Megawatt, MaxPower, ""}, {"7.000", Watt, 7, ""}, {"0.0000010000", Megawatt, 1, ""},
		{"0.0000005", Megawatt, 0, "finer"}, {"7.5", Watt, 0, "finer"}, {"10001", Megawatt, 0, "range"}, {"99999999999999999999", Watt, 0, "range"},
		{"", Megawatt, 0, "decimal"}, {"-", Megawatt, 0, "decimal"}, {".5", Megawatt, 0, "decimal"}, {"5.", Megawatt, 0, "decimal"}, {"1e3", Watt, 1000, ""}, {"5e-3", Megawatt, 5000, ""}, {"-2.5E-1", Kilowatt, -250, ""}, {"1e-7", Megawatt, 0, "finer"}, {"0.00000001", Megawatt, 0, "finer"}, {"0.00000000", Megawatt, 0, ""}, {"1e99", Watt, 0, "decimal"}, {"1e", Watt, 0, "decimal"}, {"10000.1", Megawatt, 0, "range"}, {"10000", Megawatt, 10_000 * Megawatt, ""},
		{"+1", Watt, 0, "decimal"}, {" 1", Watt, 0, "decimal"}, {"1,5", Kilowatt, 0, "decimal"}, {"--1", Watt, 0, "decimal"}, {"NaN", Watt, 0, "decimal"},
		{strings.Repeat("0", 30), Watt, 0, "decimal"},
	} {
		got, err := ParseDecimal(tc.text, tc.unit)
		switch {
		case tc.bad == "" && (err != nil || got != tc.want):
			t.Errorf("%q: %d, %v; want %d", tc.text, got, err, tc.want)
		case tc.bad != "" && (err == nil || !strings.Contains(err.Error(), tc.bad)):
			t.Errorf("%q: %d, %v; want an error with %q", tc.text, got, err, tc.bad)
		}
	}
}

func TestParsePowerWantsAUnit(t *testing.T) {
	for text, want := range map[string]Watts{"100 kW": 100_000, "2.5MW": 2_500_000, " -300 W ": -300} {
		if got, err := ParsePower(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"100", "kW", "1 GW", "1 kw", ""} {
		if got, err := ParsePower(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func TestPowerIsShownExactly(t *testing.T) {
	for w, want := range map[Watts]string{0: "0 W", 999: "999 W", -300: "-300 W", 1000: "1 kW", 12_500: "12.5 kW", -1_234_567: "-1234.567 kW", 5_010: "5.01 kW"} {
		if got := w.String(); got != want {
			t.Errorf("%d is shown as %q, want %q", int64(w), got, want)
		}
	}
}

func TestPercent(t *testing.T) {
	for text, want := range map[string]Percent{"20%": 2000, "33.25 %": 3325, "0%": 0, "100%": Full} {
		if got, err := ParsePercent(text); err != nil || got != want {
			t.Errorf("%q: %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"20", "101%", "-1%", "1.234%", "%"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("%q was read as %d", text, got)
		}
	}
}

func TestWindowsAreHalfOpen(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(h int) time.Time { return t0.Add(time.Duration(h) * time.Hour) }
	a, next, inner, open := Window{at(0), at(2)}, Window{at(2), at(4)}, Window{at(1), at(2)}, Window{Start: at(1)}
	if !a.Contains(at(0)) || a.Contains(at(2)) || !open.Contains(at(99)) || open.Contains(at(0)) {
		t.Error("a window holds its start and not its end")
	}
	if a.Overlaps(next) || next.Overlaps(a) || !a.Overlaps(inner) || !open.Overlaps(next) || !next.Overlaps(open) {
		t.Error("touching windows do not overlap; an open one overlaps what comes after its start")
	}
	if !a.Covers(inner) || a.Covers(next) || a.Covers(open) || !(Window{Start: at(0)}).Covers(open) {
		t.Error("an open window is covered only by an open one")
	}
}

func TestADispatchWantsWithinItsWindowUntilStopped(t *testing.T) {
	t0 := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	d := Dispatch{Window: Window{t0, t0.Add(time.Hour)}}
	if d.Wants(t0.Add(-1)) || !d.Wants(t0) || d.Wants(t0.Add(time.Hour)) {
		t.Error("wants outside its window")
	}
	if d.StopAt = t0.Add(time.Minute); d.Wants(t0.Add(time.Minute)) || !d.Wants(t0.Add(time.Minute-1)) {
		t.Error("a stop is not the end")
	}
}

func TestConditionsAreASetAndNeverShared(t *testing.T) {
	a := Record{}.With(Partial, true)
	b := a.With(LateStart, true).With(Partial, true)
	c := b.With(Partial, false)
	if fmt.Sprint(a.Conditions, b.Conditions, c.Conditions) != "[partial] [late_start partial] [late_start]" || !b.Has(Partial) || c.Has(Partial) {
		t.Errorf("%v %v %v", a.Conditions, b.Conditions, c.Conditions)
	}
}

func TestARefusalIsFoundInAChain(t *testing.T) {
	err := fmt.Errorf("cannot admit: %w", Refuse(ReasonOverlap, "with %s", "i1"))
	if r, ok := RefusalOf(err); !ok || r.Reason != ReasonOverlap || r.Text != "with i1" {
		t.Errorf("found %+v %v", r, ok)
	}
	if _, ok := RefusalOf(errors.New("x")); ok {
		t.Error("found a refusal where there is none")
	}
}

func TestFreshness(t *testing.T) {
	now := time.Now()
	for _, tc := range []struct {
		age  time.Duration
		want bool
	}{{0, true}, {5 * time.Second, true}, {5*time.Second + 1, false}, {-time.Second, true}, {-2 * time.Second, false}} {
		if got := (Reading{At: now.Add(-tc.age)}).Fresh(now, 5*time.Second); got != tc.want {
			t.Errorf("a reading %v old is fresh: %v", tc.age, got)
		}
	}
	if (Reading{}).Fresh(now, time.Hour) {
		t.Error("no reading at all is fresh")
	}
}

func TestOnlyExitsAreFinal(t *testing.T) {
	for st, want := range map[State]bool{Admitted: false, Scheduled: false, Active: false, Completed: true, Refused: true, Expired: true, Cancelled: true, Stopped: true, Superseded: true, "x": false} {
		if st.Final() != want {
			t.Errorf("%s final: %v", st, st.Final())
		}
	}
}

func TestChangesAreEmptyOnlyWithoutAnything(t *testing.T) {
	if !(Changes{}).Empty() || (Changes{Audit: []Audit{{}}}).Empty() || (Changes{HoldsGone: []AssetID{""}}).Empty() {
		t.Error("Empty is wrong")
	}
}

func FuzzParseDecimal(f *testing.F) {
	for _, s := range []string{"0.05", "-1", "1e9", "99999999999999999999", "0.0000000001", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		w, err := ParseDecimal(s, Megawatt)
		if err == nil && w.Abs() > MaxPower {
			t.Errorf("%q became %d", s, w)
		}
	})
}

func TestBaselineAt(t *testing.T) {
	start := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	b := Baseline{Start: start, Step: 30 * time.Minute, Values: []Watts{-100, 200, 300}}
	for _, tc := range []struct {
		after time.Duration
		want  Watts
	}{{-time.Hour, -100}, {0, -100}, {30*time.Minute - 1, -100}, {30 * time.Minute, 200}, {time.Hour, 300}, {48 * time.Hour, 300}} {
		if got := b.At(start.Add(tc.after)); got != tc.want {
			t.Errorf("%v after the start: %v, want %v", tc.after, got, tc.want)
		}
	}
	if got := (Baseline{}).At(start); got != 0 {
		t.Errorf("none: %v", got)
	}
}
