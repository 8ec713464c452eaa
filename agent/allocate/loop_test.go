package allocate

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/longtest"
)

// yard is a plant for the loop: devices that follow with a lag, a house, and
// a meter that is late and noisy.
type yard struct {
	lag     []float64     // of each device, s
	rating  flex.Watts    // of each device
	dead    time.Duration // from a new target until a device begins to move
	age     time.Duration // of what the meter shows
	period  time.Duration // between two samples of the meter
	noise   float64       // W, of meter and devices
	house   func(t time.Duration) float64
	target  flex.Watts
	free    bool
	gone    func(t time.Duration) bool // the meter is not read then
	control Control
}

// figures is what came of a run.
type figures struct {
	settle    time.Duration // until the meter stays within 2 % (at least 100 W)
	overshoot float64       // beyond the target after a step, part of it
	rms       float64       // W, once settled
	energy    float64       // error over the window, part of what was asked
	changes   int           // of the sum of targets
}

const loopStep = 100 * time.Millisecond

// before is how long the plant is watched before the dispatch.
const before = 30 * time.Second

// scene is a yard in motion.
type scene struct {
	yard
	r           *rand.Rand
	in          Input
	asset       Asset
	power, want []float64
	queue       []order
	history     []float64 // of the meter
	sample      *flex.Reading
	last        flex.Watts
	changes     int
}

// order is a set of targets on its way to the devices.
type order struct {
	at   time.Duration
	want []flex.Watts
}

func (y yard) scene(r *rand.Rand, window time.Duration) *scene {
	s := &scene{yard: y, r: r, in: Input{Now: t0}, power: make([]float64, len(y.lag)), want: make([]float64, len(y.lag)),
		asset: Asset{ID: "a", Control: y.control, Free: y.free, MeterID: "m"}}
	for i := range y.lag {
		s.in.Devices = append(s.in.Devices, battery(flex.DeviceID(fmt.Sprintf("b%d", i)), y.rating, 7000))
		s.asset.Devices = append(s.asset.Devices, s.in.Devices[i].ID)
	}
	s.in.Dispatches = []flex.Dispatch{{ID: "d", Shares: []flex.AssetShare{{Asset: "a", Power: y.target}},
		Window: flex.Window{Start: t0.Add(before), End: t0.Add(before + window)}}}
	return s
}

// move lets the plant go on by one step and gives the true meter.
func (s *scene) move(t time.Duration) (meter float64) {
	for len(s.queue) > 0 && t >= s.queue[0].at {
		for i, w := range s.queue[0].want {
			s.want[i] = float64(w)
		}
		s.queue = s.queue[1:]
	}
	for i := range s.power {
		s.power[i] += (s.want[i] - s.power[i]) * (1 - math.Exp(-loopStep.Seconds()/s.lag[i]))
		meter += s.power[i]
	}
	meter -= s.house(t)
	s.history = append(s.history, meter)
	if t%s.period == 0 {
		at := max(0, len(s.history)-1-int(s.age/loopStep))
		w := flex.Watts(s.history[at] + s.noise*s.r.NormFloat64())
		s.sample = &flex.Reading{Device: "m", At: t0.Add(t), Power: &w}
	}
	return meter
}

// decide asks for the plan and sends it to the devices.
func (s *scene) decide(t time.Duration) {
	s.in.Now, s.asset.Meter = t0.Add(t), s.sample
	if s.gone != nil && s.gone(t) {
		s.asset.Meter = nil
	}
	s.in.Assets = []Asset{s.asset}
	for i := range s.in.Devices {
		w, soc := flex.Watts(s.power[i]+s.noise*s.r.NormFloat64()/3), flex.Percent(7000)
		s.in.Devices[i].Reading = &flex.Reading{Device: s.in.Devices[i].ID, At: s.in.Now, Power: &w, SoC: &soc}
	}
	p := Decide(s.in)
	s.in.State = p.State
	next := make([]flex.Watts, len(p.Targets))
	var all flex.Watts
	for i, tg := range p.Targets {
		if next[i] = tg.Power; tg.Order == flex.OrderSet {
			s.in.Devices[i].Target = tg
		}
		all += tg.Power
	}
	if all != s.last {
		s.changes++
		s.last = all
	}
	s.queue = append(s.queue, order{t + s.dead, next})
}

// run holds the target for a window.
func (y yard) run(r *rand.Rand, window time.Duration) (f figures) {
	s := y.scene(r, window)
	target := float64(y.target)
	var sum, square, n float64
	settled := time.Duration(-1)
	for t := time.Duration(0); t < before+window; t += loopStep {
		meter := s.move(t)
		if t%time.Second == 0 {
			s.decide(t)
		}
		if t < before {
			continue
		}
		miss := meter - target
		sum += miss * loopStep.Seconds()
		f.overshoot = math.Max(f.overshoot, miss/target)
		if math.Abs(miss) > math.Max(100, 0.02*math.Abs(target))+3*y.noise {
			settled = -1
		} else if settled < 0 {
			settled = t
		}
		if t > before+time.Minute {
			square, n = square+miss*miss, n+1
		}
	}
	f.settle, f.changes = settled-before, s.changes
	f.rms = math.Sqrt(square / n)
	f.energy = math.Abs(sum) / (math.Abs(target) * window.Seconds())
	return f
}

func steady(w float64) func(time.Duration) float64 {
	return func(time.Duration) float64 { return w }
}

// living is a house: a fridge, a kettle now and then, and steps.
func living(t time.Duration) float64 {
	w := 1500 + 60*math.Sin(t.Seconds()/95*2*math.Pi)
	if t%(7*time.Minute) < 3*time.Minute {
		w += 700
	}
	if t%(11*time.Minute) < 90*time.Second {
		w += 2000
	}
	return w
}

// Whatever device and meter lag, the loop is stable and the energy is right.
func TestTheLoopIsStableForEveryLag(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 5))
	n, every := 0, longtest.Pick(3, 1)
	first := int(time.Now().Unix()) % every // every day others
	for _, lag := range []float64{0.2, 1, 2, 5} {
		for _, age := range []time.Duration{0, time.Second, 2 * time.Second, 4 * time.Second} {
			for _, period := range []time.Duration{time.Second, 3 * time.Second} {
				for _, dead := range []time.Duration{100 * time.Millisecond, 2 * time.Second} {
					if n++; n%every != first {
						continue
					}
					y := yard{lag: []float64{lag, lag / 2}, rating: 10_000, dead: dead, age: age, period: period, noise: 20, target: 6000,
						house: steady(2000), control: Meter}
					name := fmt.Sprintf("lag %v s, meter %v old every %v, dead time %v", lag, age, period, dead)
					f := y.run(r, 5*time.Minute)
					if f.settle < 0 || f.settle > 40*time.Second || f.overshoot > 0.05 || f.rms > 60 {
						t.Errorf("%s, steady house: %+v", name, f)
					}
					y.house, y.target = living, -4000
					if f := y.run(r, 30*time.Minute); f.energy > 0.005 {
						t.Errorf("%s, living house: %+v", name, f)
					} else if f.changes > 30*60/4 {
						t.Errorf("%s: %d changes", name, f.changes)
					}
				}
			}
		}
	}
}

// The figures of the documentation.
func TestTheLoopsFigures(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for _, c := range []struct {
		name string
		yard yard
	}{
		{"0.2 s device, fresh meter", yard{lag: []float64{0.2}, age: 0, period: time.Second}},
		{"1 s device, meter 1 s old", yard{lag: []float64{1}, age: time.Second, period: time.Second, dead: 500 * time.Millisecond}},
		{"5 s device, meter 4 s old", yard{lag: []float64{5}, age: 4 * time.Second, period: time.Second, dead: time.Second}},
		{"1 s and 5 s devices, meter every 3 s", yard{lag: []float64{1, 5}, age: time.Second, period: 3 * time.Second, dead: time.Second}},
	} {
		c.yard.rating, c.yard.noise, c.yard.target, c.yard.control = 12_000, 20, 5000, Meter
		c.yard.house = func(t time.Duration) float64 {
			if t < 2*time.Minute {
				return 1000
			}
			return 3500 // a step of half the target
		}
		step := c.yard.run(r, 10*time.Minute)
		c.yard.house = living
		long := c.yard.run(r, 30*time.Minute)
		settle := step.settle - 90*time.Second
		t.Logf("%-38s settles %4.1f s after a step, overshoot %4.1f %%, RMS %3.0f W, energy over 30 min %+.2f %%, %d changes",
			c.name, settle.Seconds(), 100*step.overshoot, step.rms, 100*long.energy, long.changes)
		if long.energy > 0.005 || settle > 45*time.Second {
			t.Errorf("%s: %+v %+v", c.name, step, long)
		}
	}
}
