package meter

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// feed gives points to a new source, each as of its own time.
func feed(points ...point) *source {
	s := &source{}
	for _, p := range points {
		s.add(p, p.At)
	}
	return s
}

func watts(w flex.Watts) *flex.Watts { return &w }

// counted is a point with counters, Wh.
func counted(at time.Time, w *flex.Watts, out, in int64) point {
	return point{At: at.UnixMilli(), Power: w, Exported: &out, Imported: &in}
}

// quarter is the one from t0 on.
func (s *source) quarter(t *testing.T) flex.Interval {
	t.Helper()
	i, known := s.close(1, t0.UnixMilli())
	if !known {
		t.Fatalf("nothing is known of the quarter: %+v", s.Open)
	}
	return i
}

func TestAQuarterIsExact(t *testing.T) {
	// 1 kW rising by 1 W a second, sampled at uneven times across both ends.
	s := &source{}
	for ms := int64(-700); ms < 902_000; ms += 937 {
		at := t0.UnixMilli() + ms
		s.add(point{At: at, Power: watts(flex.Watts(1000 + ms/1000))}, at)
	}
	i := s.quarter(t)
	want := 1000*900 + 900*900/2
	if math.Abs(float64(i.Energy)-float64(want)) > 900 || i.Seen != 15*time.Minute || i.Quality != flex.QualityPower || !i.Start.Equal(t0) {
		t.Errorf("%+v, want about %d Ws", i, want) // samples are whole watts
	}
}

func TestPowerIsSplitAtTheLabel(t *testing.T) {
	s := feed(point{At: t0.UnixMilli() - 4000, Power: watts(0)}, point{At: t0.UnixMilli() + 4000, Power: watts(800)})
	before, _ := s.take(0, t0.UnixMilli()-60_000)
	after, _ := s.take(0, t0.UnixMilli())
	if before.Energy != 2*4000*200 || after.Energy != 2*4000*600 {
		t.Errorf("%d and %d, want means of 200 and 600 W over 4 s", before.Energy, after.Energy)
	}
}

func TestWhereAGapBegins(t *testing.T) {
	for silence, want := range map[int64]int64{10_000: 10_000, 10_001: 0} {
		s := feed(point{At: t0.UnixMilli(), Power: watts(1)}, point{At: t0.UnixMilli() + silence, Power: watts(1)})
		if y, _ := s.take(1, t0.UnixMilli()); y.Seen != want {
			t.Errorf("%d ms of silence: %d ms measured", silence, y.Seen)
		}
	}
	for seen, want := range map[int64]flex.Quality{891_000: flex.QualityPower, 890_999: flex.QualityEstimated} {
		if i, _ := (tally{Seen: seen}).close(steps[1], 0, true); i.Quality != want {
			t.Errorf("%d ms measured: %s", seen, i.Quality)
		}
	}
}

func TestAGapIsToldAndFilledWithTheMean(t *testing.T) {
	s := &source{}
	for sec := int64(0); sec <= 900; sec++ {
		if sec > 300 && sec < 600 {
			continue
		}
		at := t0.UnixMilli() + sec*1000
		s.add(point{At: at, Power: watts(3000)}, at)
	}
	if i := s.quarter(t); i.Energy != 3000*900 || i.Seen != 10*time.Minute || i.Quality != flex.QualityEstimated || !i.Sound() {
		t.Errorf("%+v", i)
	}
}

func TestCountersGoBeforePower(t *testing.T) {
	for _, c := range []struct {
		name    string
		counter func(sec int64) (out, in int64) // Wh
		skip    func(sec int64) bool
		energy  int64 // Ws
		quality flex.Quality
	}{
		{"fine counters", func(s int64) (int64, int64) { return 100_000 + s*105/18, 7 }, nil, 105 * 50 * 3600, flex.QualityCounter},
		{"steps too coarse", func(s int64) (int64, int64) { return 100_000 + s*105/18/1000*1000, 7 }, nil, 20_000 * 900, flex.QualityPower},
		{"export and import", func(s int64) (int64, int64) { return s * 7, s * 21 / 18 }, nil, (6300 - 1050) * 3600, flex.QualityCounter},
		{"a reset in the midst", func(s int64) (int64, int64) {
			if s >= 400 {
				return (s - 400) * 105 / 18, 0
			}
			return 100_000 + s*105/18, 7
		}, nil, 20_000 * 900, flex.QualityPower},
		{"they contradict power", func(s int64) (int64, int64) { return s * 9, 0 }, nil, 20_000 * 900, flex.QualityPower},
		{"they stand still", func(int64) (int64, int64) { return 5, 5 }, nil, 20_000 * 900, flex.QualityPower},
		{"across a gap", func(s int64) (int64, int64) { return s * 9, 0 }, func(s int64) bool { return s > 100 && s < 700 }, 20_000 * 900, flex.QualityEstimated},
		{"across a gap, known to agree", func(s int64) (int64, int64) {
			if s < 0 {
				return 100_000 + s*105/18, 0 // as the power was
			}
			return 100_000 + s*9, 0 // in the gap it was more
		}, func(s int64) bool { return s > 1 && s < 899 }, 8100 * 3600, flex.QualityEstimated},
		{"across a gap, known to count the other way", func(s int64) (int64, int64) { return 0, 100_000 + s*105/18 }, func(s int64) bool { return s > 100 && s < 700 }, 20_000 * 900, flex.QualityEstimated},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &source{}
			from := int64(0)
			if strings.Contains(c.name, "known to") {
				from = -900
			}
			for sec := from; sec <= 900; sec++ {
				if c.skip != nil && c.skip(sec) {
					continue
				}
				at := t0.Add(time.Duration(sec) * time.Second)
				out, in := c.counter(sec)
				s.add(counted(at, watts(20_000), out, in), at.UnixMilli())
			}
			if from < 0 {
				s.close(1, t0.Add(-15*time.Minute).UnixMilli())
			}
			if i := s.quarter(t); i.Energy != c.energy || i.Quality != c.quality {
				t.Errorf("%+v, want %d Ws by %s", i, c.energy, c.quality)
			}
		})
	}
}

func TestWhatSamplesAreNotTaken(t *testing.T) {
	now := t0.UnixMilli()
	s := feed(point{At: now, Power: watts(1000)})
	for name, p := range map[string]point{
		"again":  {At: now, Power: watts(9999)},
		"late":   {At: now - 1, Power: watts(9999)},
		"future": {At: now + 2001, Power: watts(9999)},
		"stale":  {At: now - 10_001, Power: watts(9999)},
	} {
		if s.add(p, now); *s.Last.Power != 1000 || len(s.Open) != 0 {
			t.Errorf("%s: taken", name)
		}
	}
	// The clock was ahead, and is set back: what it gathered there goes.
	ahead := now + 1000*3600*1000
	s.add(point{At: ahead, Power: watts(1000)}, ahead)
	s.add(point{At: ahead + 1000, Power: watts(1000)}, ahead+1000)
	if len(s.Open) == 0 {
		t.Fatal("nothing was gathered ahead")
	}
	s.add(point{At: now + 5000, Power: watts(7)}, now+5000)
	if s.Last.At != now+5000 || len(s.Open) != 0 {
		t.Errorf("%+v", s)
	}
}

func TestHostileReadings(t *testing.T) {
	huge, low := flex.WattHours(math.MaxInt64), flex.WattHours(math.MinInt64)
	most, least := flex.Watts(math.MaxInt64), flex.Watts(math.MinInt64+1)
	s := &source{}
	for n, r := range []flex.Reading{{Power: &most, ExportedWh: &huge, ImportedWh: &low}, {Power: &least, ExportedWh: &low, ImportedWh: &huge}, {}} {
		r.At = t0.Add(time.Duration(n) * time.Second)
		p := pointOf(r, true)
		if p.counts() || p.Power != nil {
			t.Errorf("%+v", p)
		}
		s.add(p, p.At)
	}
	top, none := maxReading, flex.WattHours(0)
	high, deep := flex.MaxPower, -flex.MaxPower
	for n := range 4000 {
		r := flex.Reading{At: t0.Add(time.Duration(n)*2*time.Second + time.Minute), Power: &high, ExportedWh: &top, ImportedWh: &none}
		if n%2 > 0 {
			r.Power, r.ExportedWh, r.ImportedWh = &deep, &none, &top
		}
		p := pointOf(r, true)
		s.add(p, p.At)
	}
	for _, y := range s.Open {
		if i, ok := y.close(time.Minute, s.Grain, true); ok && i.Power().Abs() > flex.MaxPower {
			t.Fatalf("%+v", i)
		}
	}
	if len(s.Open) > mostOpen {
		t.Errorf("%d intervals are open", len(s.Open))
	}
}

// Whatever comes when: minutes and quarters hold the same watt-seconds and the
// same time, and no interval is seen for longer than it lasts.
func TestMinutesAndQuartersAgree(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		s := &source{}
		at := t0.UnixMilli()
		for range 200 {
			at += rnd.Int64N(20_000) * rnd.Int64N(2)
			at += rnd.Int64N(3_000)
			p := point{At: at, Power: watts(flex.Watts(rnd.Int64N(40_001) - 20_000))}
			if rnd.IntN(3) == 0 {
				p.Power = nil
			}
			s.add(p, at)
		}
		var energy, seen [2]int64
		for n, y := range s.Open {
			k := s.Step[n]
			energy[k], seen[k] = energy[k]+y.Energy, seen[k]+y.Seen
			if y.Seen > steps[k].Milliseconds() || n > 0 && s.Open[n-1].Start > y.Start {
				t.Fatalf("%+v", s.Open)
			}
		}
		off := energy[0] - energy[1]
		// A minute's edge inside a stretch rounds the power there to a watt.
		if seen[0] != seen[1] || max(off, -off) > 2*seen[0] {
			t.Fatalf("minutes %d Ws in %d ms, quarters %d in %d", energy[0], seen[0], energy[1], seen[1])
		}
	}
}
