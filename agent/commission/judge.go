package commission

import (
	"math"
	"time"

	"flexd/agent/flex"
)

// Sample is device and meter as seen at one time; nil is not known.
type Sample struct {
	At     time.Time
	Device *flex.Watts
	Meter  *flex.Watts
}

// StepResult is what one step did. Times are in milliseconds from the moment
// the setpoint was proven in the registers, and as fine as the samples.
type StepResult struct {
	Name       StepName    `json:"name"`
	Order      flex.Order  `json:"order"`
	Asked      flex.Watts  `json:"asked"`
	Taken      bool        `json:"taken"` // the registers held it
	From       flex.Watts  `json:"from"`  // the device before
	To         flex.Watts  `json:"to"`    // the device at the end
	MeterFrom  *flex.Watts `json:"meter_from,omitempty"`
	MeterTo    *flex.Watts `json:"meter_to,omitempty"`
	ReactionMS *int64      `json:"reaction_ms,omitempty"` // nil: it never moved
	SettleMS   *int64      `json:"settle_ms,omitempty"`   // nil: it was never there to stay
	RampWPS    *int64      `json:"ramp_w_per_s,omitempty"`
}

// level is a mean with its spread.
type level struct {
	mean, spread float64
	n            int
}

// levelOf is the mean of what a sample holds, from an instant on.
func levelOf(samples []Sample, from time.Time, of func(Sample) *flex.Watts) level {
	var l level
	var sum, squares float64
	for _, s := range samples {
		v := of(s)
		if v == nil || s.At.Before(from) {
			continue
		}
		l.n++
		sum += float64(*v)
		squares += float64(*v) * float64(*v)
	}
	if l.n == 0 {
		return l
	}
	l.mean = sum / float64(l.n)
	l.spread = math.Sqrt(max(0, squares/float64(l.n)-l.mean*l.mean))
	return l
}

func ofDevice(s Sample) *flex.Watts { return s.Device }
func ofMeter(s Sample) *flex.Watts  { return s.Meter }

func (l level) watts() flex.Watts { return flex.Watts(math.Round(l.mean)) }

func (l level) known() *flex.Watts {
	if l.n == 0 {
		return nil
	}
	w := l.watts()
	return &w
}

// before is where device and meter were when a step began.
type before struct{ device, meter level }

// settled gives the levels of the last third of a step.
func settled(samples []Sample) before {
	if len(samples) == 0 {
		return before{}
	}
	first, last := samples[0].At, samples[len(samples)-1].At
	from := last.Add(-last.Sub(first) / 3)
	return before{levelOf(samples, from, ofDevice), levelOf(samples, from, ofMeter)}
}

// tolerance is how near counts as there.
func tolerance(change flex.Watts) flex.Watts { return max(50, change.Abs()/4) }

// JudgeStep judges the samples of one step. told is when the registers were
// proven to hold the setpoint; zero when they never did.
func JudgeStep(step Step, told time.Time, was before, samples []Sample) StepResult {
	end := settled(samples)
	r := StepResult{Name: step.Name, Order: step.Order, Asked: step.Power, Taken: !told.IsZero(),
		From: was.device.watts(), To: end.device.watts(), MeterFrom: was.meter.known(), MeterTo: end.meter.known()}
	if !r.Taken || end.device.n == 0 {
		return r
	}
	want := step.Power - r.From
	r.ReactionMS = firstAt(samples, told, moved(r.From, want, was.device.spread))
	near := func(w flex.Watts) bool { return (w - step.Power).Abs() <= tolerance(want) }
	if step.Order == flex.OrderCap {
		near = func(w flex.Watts) bool { return w <= step.Power+tolerance(want) }
	}
	r.SettleMS = staysFrom(samples, told, near)
	if r.ReactionMS != nil {
		r.RampWPS = ramp(samples, told, r.From, r.To)
	}
	return r
}

// moved tells whether a power left where it was, in either direction: by a
// fifth of what is asked, and out of the noise.
func moved(from, want flex.Watts, noise float64) func(flex.Watts) bool {
	least := max(float64(want.Abs())/5, 3*noise, 20)
	return func(w flex.Watts) bool { return math.Abs(float64(w-from)) >= least }
}

// firstAt is when the device first met a condition.
func firstAt(samples []Sample, told time.Time, met func(flex.Watts) bool) *int64 {
	for _, s := range samples {
		if s.Device != nil && !s.At.Before(told) && met(*s.Device) {
			return since(told, s.At)
		}
	}
	return nil
}

// staysFrom is when the device met a condition for good.
func staysFrom(samples []Sample, told time.Time, met func(flex.Watts) bool) *int64 {
	var at *int64
	for _, s := range samples {
		switch {
		case s.Device == nil || s.At.Before(told):
		case !met(*s.Device):
			at = nil
		case at == nil:
			at = since(told, s.At)
		}
	}
	return at
}

// ramp is the slope between a tenth and nine tenths of the way. Where both lie
// in one sample it is what is known at least: the whole way in that time.
func ramp(samples []Sample, told time.Time, from, to flex.Watts) *int64 {
	way := float64(to - from)
	if math.Abs(way) < 1 {
		return nil
	}
	part := func(share float64) func(flex.Watts) bool {
		return func(w flex.Watts) bool { return float64(w-from)/way >= share }
	}
	early, late := firstAt(samples, told, part(0.1)), firstAt(samples, told, part(0.9))
	if early == nil || late == nil {
		return nil
	}
	span := float64(*late-*early) / 1000 / 0.8
	if *late == *early {
		span = max(float64(*late)/1000, 1)
	}
	v := int64(math.Round(math.Abs(way) / span))
	return &v
}

func since(from, to time.Time) *int64 {
	ms := max(0, to.Sub(from).Milliseconds())
	return &ms
}

// RevertResult is what came of stopping the refresh.
type RevertResult struct {
	LeaseMS int64  `json:"lease_ms"`
	AfterMS *int64 `json:"after_ms,omitempty"` // nil: it never fell back
}

// JudgeRevert finds when the device went more than half of its way back.
func JudgeRevert(held, free flex.Watts, refreshed time.Time, lease time.Duration, samples []Sample) RevertResult {
	r := RevertResult{LeaseMS: lease.Milliseconds()}
	half := (held - free).Abs() / 2
	r.AfterMS = firstAt(samples, refreshed, func(w flex.Watts) bool { return (w - held).Abs() > half })
	return r
}
