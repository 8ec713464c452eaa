package flex

import "time"

// Quality says how an interval's energy is known.
type Quality string

// Counter: by the meter's energy counters. Power: by integrating measured
// power. Estimated: parts were not measured, and are filled with the mean of
// the rest or with what the counters advanced across them.
const (
	QualityCounter   Quality = "counter"
	QualityPower     Quality = "power"
	QualityEstimated Quality = "estimated"
)

// Interval is what an asset exchanged with the grid in [Start, Start+Step).
// Its label is its start, in UTC.
type Interval struct {
	Start   time.Time     `json:"start"`
	Step    time.Duration `json:"step"`
	Energy  int64         `json:"energy_ws"` // watt-seconds, + towards the grid
	Seen    time.Duration `json:"seen"`      // of Step in which power was measured
	Quality Quality       `json:"quality"`
}

// End is the instant after the interval.
func (i Interval) End() time.Time { return i.Start.Add(i.Step) }

// Power is the mean, W, rounded half away from zero.
func (i Interval) Power() Watts {
	s := int64(i.Step / time.Second)
	if s <= 0 {
		return 0
	}
	return Watts(RoundDiv(i.Energy, s))
}

// Sound tells whether at least half of it is known by measurement.
func (i Interval) Sound() bool {
	return i.Quality == QualityCounter || i.Quality == QualityPower || i.Quality == QualityEstimated && 2*i.Seen >= i.Step
}

// Better tells whether i is to replace j, which stands for the same time.
func (i Interval) Better(j Interval) bool {
	if rank(i.Quality) != rank(j.Quality) {
		return rank(i.Quality) > rank(j.Quality)
	}
	return i.Seen >= j.Seen
}

// Worse is the lower of two qualities.
func (q Quality) Worse(p Quality) Quality {
	if rank(p) < rank(q) {
		return p
	}
	return q
}

func rank(q Quality) int {
	switch q {
	case QualityCounter:
		return 3
	case QualityPower:
		return 2
	case QualityEstimated:
		return 1
	}
	return 0
}

// Intervals is a run of intervals of one asset, packed for keeping. A step of
// which nothing is known has '-' in Quality.
type Intervals struct {
	Asset   AssetID       `json:"asset"`
	Start   time.Time     `json:"start"` // of the first, UTC
	Step    time.Duration `json:"step"`
	Energy  []int64       `json:"energy"`  // as Interval.Energy
	Seen    []int32       `json:"seen"`    // ms
	Quality string        `json:"quality"` // a letter per step: c, p, e or -
}

// List unpacks what is known.
func (r Intervals) List() []Interval {
	var out []Interval
	for n := range min(len(r.Energy), len(r.Seen), len(r.Quality)) {
		if q, ok := qualities[r.Quality[n]]; ok {
			out = append(out, Interval{Start: r.Start.Add(time.Duration(n) * r.Step), Step: r.Step, Energy: r.Energy[n],
				Seen: time.Duration(r.Seen[n]) * time.Millisecond, Quality: q})
		}
	}
	return out
}

var qualities = map[byte]Quality{'c': QualityCounter, 'p': QualityPower, 'e': QualityEstimated}

// mostSteps bounds a run: a week of minutes.
const mostSteps = 7 * 24 * 60

// Put places an interval that lies on one of the run's steps, and tells
// whether it did: what is there and better stays.
func (r *Intervals) Put(i Interval) bool {
	at := i.Start.Sub(r.Start)
	if r.Step <= 0 || i.Step != r.Step || at < 0 || at%r.Step != 0 || i.Quality == "" {
		return false
	}
	n := int(at / r.Step)
	if n >= mostSteps || len(r.Energy) != len(r.Seen) || len(r.Energy) != len(r.Quality) {
		return false
	}
	for len(r.Energy) <= n {
		r.Energy, r.Seen, r.Quality = append(r.Energy, 0), append(r.Seen, 0), r.Quality+"-"
	}
	if old, ok := qualities[r.Quality[n]]; ok {
		have := Interval{Quality: old, Seen: time.Duration(r.Seen[n]) * time.Millisecond}
		if !i.Better(have) {
			return false
		}
	}
	r.Energy[n], r.Seen[n] = i.Energy, int32(i.Seen/time.Millisecond)
	r.Quality = r.Quality[:n] + string(i.Quality[0]) + r.Quality[n+1:]
	return true
}

// RoundDiv is a/b rounded half away from zero; b is above zero.
func RoundDiv(a, b int64) int64 {
	if a < 0 {
		return -RoundDiv(-a, b)
	}
	q, r := a/b, a%b
	if r >= b-r {
		q++
	}
	return q
}

// Nomination is what a person declared an asset's baseline to be: pieces that
// do not overlap, by time.
type Nomination struct {
	Asset  AssetID  `json:"asset"`
	Pieces []Stated `json:"pieces"`
}

// Stated is one run of declared mean powers.
type Stated struct {
	Start  time.Time     `json:"start"` // of the first step, UTC
	Step   time.Duration `json:"step"`
	Values []Watts       `json:"values"` // + towards the grid
	At     time.Time     `json:"at"`     // when it was declared
	By     string        `json:"by"`
}

// End is the instant after the last step.
func (s Stated) End() time.Time { return s.Start.Add(time.Duration(len(s.Values)) * s.Step) }
