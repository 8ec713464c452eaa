package meter

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestIntervalsAreKeptWithTheirLabels(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid", Devices: []flex.DeviceID{"bat"}})
	r.run("grid", 31*time.Minute, func(at time.Time) flex.Watts {
		if at.Before(t0.Add(15 * time.Minute)) {
			return 1000
		}
		return -500
	})
	quarters, minutes := r.kept("a", 15*time.Minute), r.kept("a", time.Minute)
	if len(quarters) != 2 || len(minutes) != 30 {
		t.Fatalf("%d quarters, %d minutes: %+v", len(quarters), len(minutes), quarters)
	}
	if q := quarters[1]; !q.Start.Equal(t0.Add(15*time.Minute)) || q.Power() != -500 || q.Quality != flex.QualityPower {
		t.Errorf("%+v", q)
	}
	half := Joined(quarters, 30*time.Minute)
	if len(half) != 1 || !half[0].Start.Equal(t0) || half[0].Energy != quarters[0].Energy+quarters[1].Energy || half[0].Seen != 30*time.Minute {
		t.Errorf("%+v", half)
	}
}

func TestAnAssetWithoutAMeterIsTheSumOfItsDevices(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Devices: []flex.DeviceID{"b1", "b2"}})
	for range 70 {
		r.sample("b1", 400)
		r.sample("b2", -100)
		r.wall.now = r.wall.now.Add(time.Second)
	}
	if got := r.kept("a", time.Minute); len(got) != 1 || got[0].Power() != 300 || got[0].Quality != flex.QualityPower {
		t.Fatalf("%+v", got)
	}
	// One of them falls silent: nothing is known of the sum.
	r.run("b1", 3*time.Minute, flat(400))
	if got := r.kept("a", time.Minute); len(got) != 2 || got[1].Quality != flex.QualityEstimated {
		t.Errorf("%+v", got)
	}
}

func TestARestartInTheMiddleCostsOnlyItsTime(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	r.run("grid", 7*time.Minute, flat(2000))
	r.m.keep(t.Context())
	r.wall.now = r.wall.now.Add(30 * time.Second) // flexd is away
	r.restart()
	r.run("grid", 9*time.Minute, flat(2000))
	got := r.kept("a", 15*time.Minute)
	if len(got) != 1 || got[0].Seen < 14*time.Minute+28*time.Second || got[0].Seen > 14*time.Minute+31*time.Second || got[0].Power() != 2000 || got[0].Quality != flex.QualityEstimated {
		t.Fatalf("%+v", got)
	}
}

func TestCountersBridgeARestart(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	wh := int64(1_000_000)
	sample := func(d time.Duration) {
		for end := r.wall.now.Add(d); r.wall.now.Before(end); r.wall.now = r.wall.now.Add(time.Second) {
			out, in, w := flex.WattHours(wh+int64(r.wall.now.Sub(t0)/time.Second)*10), flex.WattHours(5), flex.Watts(36_000)
			r.m.Reading(flex.Reading{Device: "grid", At: r.wall.now, Power: &w, ExportedWh: &out, ImportedWh: &in})
		}
	}
	sample(20 * time.Minute)
	r.m.keep(t.Context())
	r.wall.now = r.wall.now.Add(40 * time.Minute)
	r.restart()
	sample(16 * time.Minute)
	got := r.kept("a", 15*time.Minute)
	if len(got) != 5 {
		t.Fatalf("%+v", got)
	}
	for n, i := range got {
		want := flex.QualityEstimated
		if n == 0 || n == 4 {
			want = flex.QualityCounter
		}
		if i.Energy != 36_000*900 || i.Quality != want {
			t.Errorf("%d: %+v", n, i)
		}
	}
	// What was only counted across a gap is known, but not by measurement.
	if got[2].Seen != 0 || got[2].Sound() {
		t.Errorf("%+v", got[2])
	}
}

func TestASilentMeterIsWaitedForNoLongerThanItsCountersReach(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	w, wh := flex.Watts(100), flex.WattHours(9)
	for range 30 {
		r.m.Reading(flex.Reading{Device: "grid", At: r.wall.now, Power: &w, ExportedWh: &wh, ImportedWh: &wh})
		r.wall.now = r.wall.now.Add(time.Second)
	}
	r.wall.now = t0.Add(2 * time.Hour)
	if got := r.kept("a", time.Minute); len(got) != 0 {
		t.Errorf("closed: %+v", got)
	}
	r.wall.now = t0.Add(2*time.Hour + time.Minute)
	if got := r.kept("a", time.Minute); len(got) != 1 || got[0].Seen != 29*time.Second || got[0].Sound() {
		t.Errorf("%+v", got)
	}
}

func TestAnUntrustedClockGathersNothing(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	r.wall.trust = flex.ClockUntrusted
	r.run("grid", 2*time.Minute, flat(5))
	r.wall.trust = flex.ClockSynced
	if got := r.kept("a", time.Minute); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestWhatCannotBeStoredIsTriedAgain(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	r.run("grid", 2*time.Minute+time.Second, flat(5))
	r.shelf.broke = true
	r.m.keep(t.Context())
	r.shelf.broke = false
	if got := r.kept("a", time.Minute); len(got) != 2 {
		t.Errorf("%+v", got)
	}
}

func TestADamagedStateBeginsAnew(t *testing.T) {
	for _, raw := range []string{"", "{", "[]", `{"a":{"grid":{"open":[{"start":1}],"step":[]}}}`, `{"a":{"grid":{"open":[{"start":1}],"step":[7]}}}`, `{"a":{"grid":null}}`} {
		r := newRig(t, Asset{ID: "a", Meter: "grid"})
		r.shelf.open = []byte(raw)
		r.restart()
		r.run("grid", 2*time.Minute, flat(5))
		if got := r.kept("a", time.Minute); len(got) == 0 {
			t.Errorf("%q: nothing is gathered", raw)
		}
	}
}

func TestTheStateIsSmall(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	r.run("grid", 8*time.Minute, flat(5))
	r.m.keep(t.Context())
	var out bytes.Buffer
	if err := json.Compact(&out, r.shelf.open); err != nil || out.Len() > 600 {
		t.Errorf("%d bytes, %v: %s", out.Len(), err, r.shelf.open)
	}
	if r.shelf.puts != 1 {
		t.Errorf("%d transactions", r.shelf.puts)
	}
}

func TestWhatIsRememberedIsBounded(t *testing.T) {
	var list []flex.Interval
	back := 4 * time.Hour
	for n := range 1000 { // no clock proves that any time has passed
		list = remember(list, minute(-n, 1), back, time.Time{})
	}
	if len(list) != 480 || !list[479].Start.Equal(minute(-999, 1).Start) {
		t.Errorf("%d", len(list))
	}
	if list = remember(list, minute(-1000, 1), back, minute(-1000, 1).Start); len(list) != 241 {
		t.Errorf("%d", len(list))
	}
}

func TestCountersThatCountTheOtherWayAreTold(t *testing.T) {
	r := newRig(t, Asset{ID: "a", Meter: "grid"})
	sample := func(sign int64) {
		for end := r.wall.now.Add(16 * time.Minute); r.wall.now.Before(end); r.wall.now = r.wall.now.Add(time.Second) {
			out, in, w := flex.WattHours(1e6+sign*int64(r.wall.now.Sub(t0)/time.Second)), flex.WattHours(5), flex.Watts(3600)
			if sign < 0 {
				out, in = 2e6, flex.WattHours(r.wall.now.Sub(t0)/time.Second)
			}
			r.m.Reading(flex.Reading{Device: "grid", At: r.wall.now, Power: &w, ExportedWh: &out, ImportedWh: &in})
		}
	}
	sample(-1)
	if got := r.kept("a", 15*time.Minute); len(got) != 1 || got[0].Quality != flex.QualityPower || !strings.Contains(r.alarms["meter_counters grid"], "count the other way") {
		t.Errorf("%+v %v", got, r.alarms)
	}
	sample(1)
	sample(1)
	if got := r.kept("a", 15*time.Minute); len(got) != 3 || got[2].Quality != flex.QualityCounter || len(r.alarms) != 0 {
		t.Errorf("%+v %v", got, r.alarms)
	}
}
