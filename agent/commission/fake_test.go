package commission

import (
	"context"
	"sync"
	"testing"
	"time"

	"flexd/agent/flex"
)

// plant is a site with one battery, its meter, and a control that carries out
// what the override shapes, second by second.
type plant struct {
	ov *Override

	mu       sync.Mutex
	power    float64 // the battery, W
	told     flex.Target
	echo     time.Time
	refresh  time.Time
	held     bool
	busy     *flex.Refusal
	dispatch flex.Target // what the planner wants by itself
	holds    []flex.Hold
	applied  int
	targets  []flex.Watts
	longest  time.Duration // between two refreshes of the same setpoint

	// What is special about it.
	load        func(at time.Duration) float64
	meterSign   float64
	ramp        float64 // W/s
	delay       time.Duration
	ignores     bool
	inverted    bool
	noCharge    bool
	deaf        bool // the registers never hold it
	neverFalls  bool
	neverFrees  bool
	lease       time.Duration
	fault       bool
	offline     bool
	soc         flex.Percent
	plate       flex.Nameplate
	begun       time.Time
	setAt       time.Time
	base        float64
	meterSilent bool
	every       time.Duration // between two readings, where it takes its time
	seen        flex.Reading
}

func newPlant() *plant {
	p := &plant{ov: NewOverride(), meterSign: 1, ramp: 400, delay: 2 * time.Second, lease: 60 * time.Second, soc: 5000, begun: time.Now(),
		load: func(time.Duration) float64 { return 3000 },
		plate: flex.Nameplate{Manufacturer: "Acme", Model: "B10", Serial: "s1", Role: flex.RoleStorage, MaxPower: 10_000, MaxCharge: 10_000, MaxDischarge: 10_000,
			Can: []flex.Capability{flex.CanSet, flex.CanMeasure}, Method: "fake", Revert: true}}
	return p
}

// run is control and physics, once a second.
func (p *plant) run(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			p.second(time.Now())
		}
	}
}

func (p *plant) second(now time.Time) {
	p.mu.Lock()
	own, holds := p.dispatch, p.holds
	p.mu.Unlock()
	own.Device, own.Revert = "bat1", p.lease
	if own.Order == "" {
		own.Order = flex.OrderNone
	}
	targets, _ := p.ov.Shape(now, []flex.Target{own}, time.Time{}, holds)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.follow(targets[0], now)
	want := p.base
	if p.held && !p.ignores && now.Sub(p.setAt) >= p.delay {
		want = float64(p.told.Power)
		if p.inverted {
			want = -want
		}
		if p.noCharge {
			want = max(0, want)
		}
	}
	if p.power < want {
		p.power = min(want, p.power+p.ramp)
	} else {
		p.power = max(want, p.power-p.ramp)
	}
}

// follow is control: apply, refresh, release. mu is held.
func (p *plant) follow(t flex.Target, now time.Time) {
	switch {
	case t.Order == flex.OrderNone:
		if p.held && !p.neverFrees {
			p.held, p.echo = false, time.Time{}
			p.told = t
		}
		p.told.Order = t.Order
	case p.deaf:
		p.held = true
	case !p.held || p.told.Power != t.Power || p.told.Order != t.Order:
		p.held, p.echo, p.refresh, p.setAt = true, now, now, now
		p.applied++
		p.targets = append(p.targets, t.Power)
		p.told = t
	case !t.Once && now.Sub(p.refresh) >= p.lease/3:
		p.refresh = now
		p.told = t
	default:
		p.told = t
	}
	if p.held && !p.refresh.IsZero() {
		p.longest = max(p.longest, now.Sub(p.refresh))
	}
	if p.held && !p.neverFalls && now.Sub(p.refresh) >= p.lease {
		p.setAt = now.Add(time.Hour) // it has let go
	}
}

func (p *plant) Busy(flex.DeviceID) *flex.Refusal {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.busy
}

func (p *plant) Device(id flex.DeviceID) (flex.DeviceStatus, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := flex.Watts(p.power)
	r := flex.Reading{Device: id, At: time.Now(), Power: &w, SoC: &p.soc}
	if p.seen.Fresh(r.At, p.every-1) {
		r = p.seen
	}
	p.seen = r
	if p.fault {
		r.Status = "fault"
	}
	st := flex.DeviceStatus{ID: id, Online: !p.offline, Plate: p.plate, Reading: &r, Target: p.told, Held: p.held}
	if p.held {
		st.Proof = flex.Proof{Target: p.told, EchoAt: p.echo, Refreshed: p.refresh}
	}
	return st, id == "bat1"
}

func (p *plant) Meter() (flex.Reading, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := flex.Watts(p.meterSign * (p.power - p.load(time.Since(p.begun))))
	return flex.Reading{Device: "grid", At: time.Now(), Power: &w}, !p.meterSilent
}

// set changes the plant while it runs.
func (p *plant) set(f func(*plant)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

// free tells whether the device is handed back.
func (p *plant) free() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !p.held
}

// trialOf runs a commissioning of the plant within a bubble.
func trialOf(t *testing.T, ctx context.Context, p *plant, s Settings, tell func(step, text string)) (Record, error) {
	t.Helper()
	life, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { p.run(life) })
	defer wg.Wait()
	defer end()
	time.Sleep(5500 * time.Millisecond)
	if tell == nil {
		tell = func(string, string) {}
	}
	r := New(Config{Site: p, Hand: p.ov, Now: func() (time.Time, flex.ClockTrust) { return time.Now(), flex.ClockSynced }, Version: "v0"})
	return r.Run(ctx, Order{Device: "bat1", Settings: s, By: "anna"}, tell)
}
