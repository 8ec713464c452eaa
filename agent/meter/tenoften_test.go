package meter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// world is a past that was made up, for the method and for the plain
// computation beside it.
type world struct {
	quarters []flex.Interval
	busy     []flex.Window
	holidays map[string]bool
	rule     Rule
	q        Question
	zone     *time.Location
}

func randomWorld(t *testing.T, rnd *rand.Rand) world {
	zones := []string{"Europe/London", "UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"}
	w := world{holidays: map[string]bool{}, zone: zoneOf(t, zones[rnd.IntN(len(zones))])}
	// Around both changes of the clocks in 2026 to 2028.
	event := time.Date(2026+rnd.IntN(3), []time.Month{3, 4, 7, 10, 11}[rnd.IntN(5)], 20+rnd.IntN(14), rnd.IntN(24), 15*rnd.IntN(4), 0, 0, time.UTC)
	w.rule = Rule{Method: flex.MethodTenOfTen, Step: []time.Duration{15 * time.Minute, halfHour}[rnd.IntN(2)], Days: 1 + rnd.IntN(12), RestDays: 1 + rnd.IntN(5),
		Lookback: 20 + rnd.IntN(50), Adjust: []flex.Percent{0, 2000, 10_000}[rnd.IntN(3)], Holiday: func(d string) bool { return w.holidays[d] }}
	w.q = Question{Asset: "a", Window: flex.Window{Start: event, End: event.Add(time.Duration(1+rnd.IntN(240)) * time.Minute)},
		Notice: event.Add(-time.Duration(rnd.IntN(36*60)-30) * time.Minute)}
	lost := []int{0, 0, 2, 20}[rnd.IntN(4)]
	for at := event.AddDate(0, 0, -w.rule.Lookback-3).Truncate(24 * time.Hour); at.Before(event.Add(time.Hour)); at = at.Add(15 * time.Minute) {
		i := flex.Interval{Start: at, Step: 15 * time.Minute, Energy: rnd.Int64N(20_000_000) - 5_000_000, Seen: 15 * time.Minute, Quality: flex.QualityPower}
		switch rnd.IntN(500) {
		case 0:
			continue
		case 1:
			i.Quality, i.Seen = flex.QualityEstimated, 7*time.Minute
		case 2:
			i.Quality, i.Seen = flex.QualityEstimated, 8*time.Minute
		}
		if rnd.IntN(100) >= lost {
			w.quarters = append(w.quarters, i)
		}
	}
	for range rnd.IntN(12) {
		from := event.Add(-time.Duration(rnd.IntN(60*24*60)) * time.Minute)
		w.busy = append(w.busy, flex.Window{Start: from, End: from.Add(time.Duration(1+rnd.IntN(600)) * time.Minute)})
	}
	for range rnd.IntN(6) {
		w.holidays[event.AddDate(0, 0, -rnd.IntN(60)).Format(time.DateOnly)] = true
	}
	return w
}

// plain is what a simple mind notes of a world: what was measured by the words
// that a local clock shows, and the dates with a dispatch.
type plain struct {
	world
	until   time.Time
	byUTC   map[int64]flex.Interval
	sums    map[string]float64 // by the local time at which the step starts
	touched map[string]bool
	event   time.Time
}

func (w world) plain() plain {
	p := plain{world: w, until: w.q.Notice, byUTC: map[int64]flex.Interval{}, sums: map[string]float64{}, touched: map[string]bool{}}
	if w.q.Window.Start.Before(p.until) {
		p.until = w.q.Window.Start
	}
	for _, i := range w.quarters {
		p.byUTC[i.Start.Unix()] = i
	}
	seen := map[string]bool{}
	for _, i := range w.quarters { // every quarter may begin a step
		name := i.Start.In(w.zone).Format("2006-01-02 15:04")
		if v, ok := p.mean(i.Start); ok && !seen[name] {
			p.sums[name] = v
		}
		seen[name] = true // of two the first
	}
	for _, b := range w.busy {
		for at := b.Start; at.Before(b.End); at = at.Add(time.Minute) {
			p.touched[at.In(w.zone).Format(time.DateOnly)] = true
		}
	}
	p.event, _ = time.Parse(time.DateOnly, w.q.Window.Start.In(w.zone).Format(time.DateOnly))
	return p
}

// mean is that of the step from an instant on, W.
func (p plain) mean(start time.Time) (float64, bool) {
	sum := 0.0
	for at := start; at.Before(start.Add(p.rule.Step)); at = at.Add(15 * time.Minute) {
		i, ok := p.byUTC[at.Unix()]
		if !ok || i.Quality == flex.QualityEstimated && i.Seen*2 < i.Step {
			return 0, false
		}
		sum += float64(i.Energy)
	}
	return sum / p.rule.Step.Seconds(), !start.Add(p.rule.Step).After(p.until)
}

// days is how many calendar days an instant lies after the event's.
func (p plain) days(at time.Time) int {
	d, _ := time.Parse(time.DateOnly, at.In(p.zone).Format(time.DateOnly))
	return int(math.Round(d.Sub(p.event).Hours() / 24))
}

// name is the time of at, on the day that is to day what at's is to the event's.
func (p plain) name(day, at time.Time) string {
	return day.AddDate(0, 0, p.days(at)).Format(time.DateOnly) + at.In(p.zone).Format(" 15:04")
}

func (p plain) rest(day time.Time) bool {
	return day.Weekday() == 0 || day.Weekday() == 6 || p.holidays[day.Format(time.DateOnly)]
}

func (p plain) good(day time.Time) bool {
	good := p.rest(day) == p.rest(p.event)
	for over := 0; over <= p.days(p.q.Window.End.Add(-1)); over++ {
		good = good && !p.touched[day.AddDate(0, 0, over).Format(time.DateOnly)]
	}
	start, n := p.q.frame(p.rule.Step)
	for k := range n {
		_, known := p.sums[p.name(day, start.Add(time.Duration(k)*p.rule.Step))]
		good = good && known
	}
	return good
}

// baseline computes in the simplest way that can be thought of, W.
func (p plain) baseline() (values []float64, failed bool) {
	want := p.rule.Days
	if p.rest(p.event) {
		want = p.rule.RestDays
	}
	var chosen []time.Time
	for back := 1; back <= p.rule.Lookback && len(chosen) < want; back++ {
		if day := p.event.AddDate(0, 0, -back); p.good(day) {
			chosen = append(chosen, day)
		}
	}
	if 2*len(chosen) < want {
		return nil, true
	}
	mean, window := 0.0, 0.0
	start, n := p.q.frame(p.rule.Step)
	for k := range n {
		at, v := start.Add(time.Duration(k)*p.rule.Step), 0.0
		for _, d := range chosen {
			v += p.sums[p.name(d, at)] / float64(len(chosen))
		}
		values = append(values, v)
		if at.Before(p.q.Window.End) && at.Add(p.rule.Step).After(p.q.Window.Start) {
			mean, window = mean+math.Abs(v), window+1
		}
	}
	most := mean / window * float64(p.rule.Adjust) / 10_000
	for k := range values {
		values[k] += max(-most, min(most, p.off(chosen)))
	}
	return values, false
}

// off is how much the two hours before differed from the same on other days.
func (p plain) off(chosen []time.Time) float64 {
	off, hits := 0.0, 0.0
	for k := 1; k <= int(2*time.Hour/p.rule.Step); k++ {
		at := p.until.Truncate(p.rule.Step).Add(-time.Duration(k) * p.rule.Step)
		actual, ok := p.mean(at)
		for _, b := range p.busy {
			ok = ok && !(b.Start.Before(at.Add(p.rule.Step)) && b.End.After(at))
		}
		usual, there := 0.0, 0.0
		for _, d := range chosen {
			if v, known := p.sums[p.name(d, at)]; known {
				usual, there = usual+v, there+1
			}
		}
		if ok && p.days(at) == 0 && 2*there >= float64(len(chosen)) && there > 0 {
			off, hits = off+actual-usual/there, hits+1
		}
	}
	if hits*2 < (2*time.Hour).Seconds()/p.rule.Step.Seconds() {
		return 0
	}
	return off / hits
}

func TestTenOfTenIsWhatAPlainComputationGives(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	count := map[string]int{}
	for n := range 240 {
		w := randomWorld(t, rnd)
		want, failed := w.plain().baseline()
		got, err := TenOfTen(w.q, w.quarters, w.rule, w.zone, w.busy)
		if failed != (err != nil) {
			t.Fatalf("%d: %v, plainly it fails: %v", n, err, failed)
		}
		count[fmt.Sprint(failed, strings.Contains(got.Detail, "adjusted by"))]++
		if failed {
			continue
		}
		if len(got.Values) != len(want) {
			t.Fatalf("%d: %d values, want %d", n, len(got.Values), len(want))
		}
		for k := range want {
			if math.Abs(float64(got.Values[k])-want[k]) > 2 {
				t.Fatalf("%d: %v in %s, notice %v, window %v, step %d: %v, want %v (%s)", n, w.rule.Step, w.zone, w.q.Notice, w.q.Window, k, got.Values, want, got.Detail)
			}
		}
	}
	t.Log(count)
	for _, kind := range []string{"false true", "false false", "true false"} {
		if count[kind] < 10 {
			t.Errorf("hardly any case of %q: %v", kind, count)
		}
	}
}

// weeks is a past of equal days, and one day more: 1 kW, and 100 W more for
// each hour of the day.
func weeks(t *testing.T, event time.Time, n int) []flex.Interval {
	london := zoneOf(t, "Europe/London")
	var out []flex.Interval
	for at := event.AddDate(0, 0, -7*n-1).Truncate(time.Hour); at.Before(event); at = at.Add(15 * time.Minute) {
		w := 1000 + 100*int64(at.In(london).Hour())
		out = append(out, flex.Interval{Start: at, Step: 15 * time.Minute, Energy: w * 900, Seen: 15 * time.Minute, Quality: flex.QualityCounter})
	}
	return out
}

func TestWhichDaysAreCompared(t *testing.T) {
	london := zoneOf(t, "Europe/London")
	day := func(m time.Month, d, h int) time.Time { return time.Date(2026, m, d, h, 0, 0, 0, time.UTC) }
	mayDay := func(d string) bool { return d == "2026-05-04" || d == "2026-05-25" }
	for _, c := range []struct {
		name  string
		start time.Time
		weeks int
		busy  []flex.Window
		want  string
	}{
		{"working days", day(11, 18, 17), 9, nil, "mean of 10 of 10 working days from 2026-11-04 to 2026-11-17;"},
		{"a weekend", day(11, 21, 17), 9, nil, "mean of 4 of 4 weekend days and holidays from 2026-11-07 to 2026-11-15;"},
		{"a bank holiday", day(5, 25, 17), 9, nil, "mean of 4 of 4 weekend days and holidays from 2026-05-16 to 2026-05-24;"},
		{"working days around a bank holiday", day(5, 8, 17), 9, nil, "mean of 10 of 10 working days from 2026-04-23 to 2026-05-07;"},
		{"two days of dispatches", day(11, 18, 17), 9, []flex.Window{{Start: day(11, 17, 2), End: day(11, 17, 3)}, {Start: day(11, 12, 23), End: day(11, 13, 1)}},
			"mean of 10 of 10 working days from 2026-10-30 to 2026-11-16, left out: 3 dispatched or unavailable;"},
		{"a young site", day(11, 18, 17), 1, nil, "mean of 5 of 10 working days from 2026-11-11 to 2026-11-17, left out: "},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := Rule{Step: halfHour, Days: 10, RestDays: 4, Lookback: 60, Adjust: 2000, Holiday: mayDay}
			q := Question{Asset: "a", Notice: c.start.Add(-15 * time.Minute), Window: flex.Window{Start: c.start, End: c.start.Add(time.Hour)}}
			b, err := TenOfTen(q, weeks(t, c.start, c.weeks), r, london, c.busy)
			if err != nil || !strings.HasPrefix(b.Detail, c.want) || !strings.HasSuffix(b.Detail, "; adjusted by 0 W") {
				t.Fatalf("%+v %v", b, err)
			}
			if want := flex.Watts(1000 + 100*c.start.In(london).Hour()); b.At(c.start) != want {
				t.Errorf("%v, want %v", b.At(c.start), want)
			}
		})
	}
}

func TestTooFewDaysAreToldApart(t *testing.T) {
	start := time.Date(2026, 11, 18, 17, 0, 0, 0, time.UTC)
	q := Question{Asset: "a", Notice: start, Window: flex.Window{Start: start, End: start.Add(time.Hour)}}
	r := Rule{Step: halfHour, Days: 10, RestDays: 4, Lookback: 60, Holiday: func(string) bool { return false }}
	busy := []flex.Window{{Start: start.AddDate(0, 0, -2), End: start.AddDate(0, 0, -2).Add(time.Hour)}}
	_, err := TenOfTen(q, weeks(t, start, 1), r, zoneOf(t, "Europe/London"), busy)
	if err == nil || err.Error() != "only 4 of 10 working days within 60 days can be compared, left out: 1 dispatched or unavailable, 37 not measured" {
		t.Error(err)
	}
}

func TestTheAdjustmentIsCappedAndOfTheSameDay(t *testing.T) {
	london := zoneOf(t, "Europe/London")
	start := time.Date(2026, 11, 18, 17, 0, 0, 0, time.UTC)
	r := Rule{Step: halfHour, Days: 10, RestDays: 4, Lookback: 60, Adjust: 2000, Holiday: func(string) bool { return false }}
	for _, c := range []struct {
		name   string
		more   int64 // W more than usual today
		notice time.Time
		busy   []flex.Window
		want   flex.Watts
		text   string
	}{
		{"as it was", 100, start, nil, 2800, "; adjusted by 100 W"},
		{"down", -100, start, nil, 2600, "; adjusted by -100 W"},
		{"at most a fifth", 900, start, nil, 2700 + 550, "; adjusted by 550 W instead of 900 W (at most 20 % of it)"},
		{"at most a fifth down", -900, start, nil, 2700 - 550, "instead of -900 W"},
		{"the day before", 900, start.Add(-18 * time.Hour), nil, 2700, "tell too little"},
		{"soon after midnight", 900, start.Add(-16 * time.Hour).Add(30 * time.Minute), nil, 2700 + 550, "instead of 900 W"},
		{"too soon after midnight", 900, start.Add(-16*time.Hour - 30*time.Minute), nil, 2700, "tell too little"},
		{"under a dispatch", 900, start, []flex.Window{{Start: start.Add(-100 * time.Minute), End: start}}, 2700, "tell too little"},
	} {
		t.Run(c.name, func(t *testing.T) {
			list := weeks(t, start, 9)
			for k := range list {
				if list[k].Start.In(london).Day() == 18 && list[k].Start.Month() == 11 {
					list[k].Energy += c.more * 900
				}
			}
			b, err := TenOfTen(Question{Asset: "a", Notice: c.notice, Window: flex.Window{Start: start, End: start.Add(2 * time.Hour)}}, list, r, london, c.busy)
			if err != nil || b.At(start) != c.want || !strings.Contains(b.Detail, c.text) {
				t.Errorf("%v %q %v, want %v %q", b.Values, b.Detail, err, c.want, c.text)
			}
		})
	}
}

// What was going on when the notice came is not known yet.
func TestAStepUnderWayDoesNotCount(t *testing.T) {
	start := time.Date(2026, 11, 18, 17, 0, 0, 0, time.UTC)
	r := Rule{Step: halfHour, Days: 2, RestDays: 4, Lookback: 60, Holiday: func(string) bool { return false }}
	for ago, want := range map[time.Duration]string{24*time.Hour - 59*time.Minute: "from 2026-11-13 to 2026-11-16,", 24*time.Hour - 60*time.Minute: "from 2026-11-13 to 2026-11-16,", 24*time.Hour - 90*time.Minute: "from 2026-11-16 to 2026-11-17"} {
		q := Question{Asset: "a", Notice: start.Add(-ago), Window: flex.Window{Start: start, End: start.Add(time.Hour)}}
		if b, err := TenOfTen(q, weeks(t, start, 3), r, zoneOf(t, "Europe/London"), nil); err != nil || !strings.Contains(b.Detail, want) {
			t.Errorf("notice %v before: %q %v, want %q", ago, b.Detail, err, want)
		}
	}
}

// A Meter that is asked uses what it was told of dispatches, declarations and
// intervals, also after a restart.
func TestTenOfTenOfARunningMeter(t *testing.T) {
	start := time.Date(2026, 11, 18, 17, 0, 0, 0, time.UTC)
	rule := &Rule{Method: flex.MethodTenOfTen, Fallback: FallbackRefuse, Step: halfHour, Days: 10, RestDays: 4, Lookback: 60, Adjust: 2000, Holiday: func(string) bool { return false }}
	r := newRig(t, Asset{ID: "a", Meter: "grid", Rule: rule})
	for _, i := range weeks(t, start, 10) {
		r.shelf.put("a", i)
	}
	r.wall.now = start.Add(-10 * time.Minute)
	r.restart()
	ago := func(days int) flex.Window {
		return flex.Window{Start: start.AddDate(0, 0, -days), End: start.AddDate(0, 0, -days).Add(time.Hour)}
	}
	r.m.Note(flex.Changes{Records: []flex.Record{
		{ID: "i", State: flex.Completed, FirstWrite: start, Window: ago(1), Shares: []flex.AssetShare{{Asset: "a", Power: 1}}},
		{ID: "j", State: flex.Completed, FirstWrite: start, Window: ago(2), Shares: []flex.AssetShare{{Asset: "b", Power: 1}}},
	}, Unavailable: []flex.Unavailability{{ID: "u", Asset: "a", Window: ago(5)}, {ID: "v", Asset: "a", Window: ago(6), Withdrawn: ago(7).Start}}})
	b, held, err := r.m.Baseline(t.Context(), "a", flex.Window{Start: start, End: start.Add(time.Hour)}, r.wall.now)
	const days = "from 2026-11-02 to 2026-11-16, left out: 2 dispatched or unavailable;"
	if !held || err != nil || !strings.Contains(b.Detail, days) || b.At(start) != 2700 {
		t.Errorf("%+v %v", b, err)
	}
	// A clock that nobody vouches for jumps ten years ahead and back: nothing is
	// forgotten.
	before, years := r.wall.now, 10*365*24*time.Hour
	r.wall.now, r.wall.ahead, r.wall.trust = before.Add(years), years, flex.ClockHoldover
	r.run("grid", 31*time.Minute, flat(9))
	r.m.keep(t.Context())
	r.wall.now, r.wall.ahead = before, 0
	if b, _, err = r.m.Baseline(t.Context(), "a", flex.Window{Start: start, End: start.Add(time.Hour)}, r.wall.now); err != nil || !strings.Contains(b.Detail, days) {
		t.Errorf("%+v %v", b, err)
	}
}
