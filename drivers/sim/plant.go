package sim

import (
	"context"
	"fmt"
	"math"
	"sync"
	"time"
)

// DefaultTick is how often the physics move on.
const DefaultTick = 20 * time.Millisecond

// maxStride bounds one step of the physics, so that a long gap between two
// calls of Step integrates energy through every change of state in between.
const maxStride = time.Second

// Config describes the plant as a whole. The zero value is an empty house
// that draws nothing.
type Config struct {
	// Load is what the house draws, W; nil: nothing.
	Load func(time.Time) float64
	// Tick is how often Run steps the physics; 0: DefaultTick.
	Tick time.Duration
	// Now tells the time; nil: the wall clock.
	Now func() time.Time
}

// Plant is a site: its devices, its house, its connection to the grid.
type Plant struct {
	tick time.Duration
	now  func() time.Time

	mu      sync.Mutex
	load    func(time.Time) float64
	drawn   float64 // what the house draws now
	last    time.Time
	servers []*Server
	devices []*Device
	running bool
}

// NewPlant builds an empty plant.
func NewPlant(cfg Config) *Plant {
	p := &Plant{tick: cfg.Tick, now: cfg.Now, load: cfg.Load}
	if p.tick <= 0 {
		p.tick = DefaultTick
	}
	if p.now == nil {
		p.now = time.Now
	}
	if p.load == nil {
		p.load = func(time.Time) float64 { return 0 }
	}
	p.last = p.now()
	p.drawn = p.load(p.last)
	return p
}

// AddServer opens a listener for several units. It is served from Run on.
func (p *Plant) AddServer(cfg ServerConfig) (*Server, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running {
		return nil, fmt.Errorf("the plant runs: add listeners and devices before Run")
	}
	s, err := newServer(p, cfg)
	if err != nil {
		return nil, err
	}
	p.servers = append(p.servers, s)
	return s, nil
}

// AddPV adds an inverter with panels.
func (p *Plant) AddPV(c PV) (*Device, error) {
	c.Options = c.Options.named()
	inv, im, err := newInverter(c)
	if err != nil {
		return nil, err
	}
	return p.add(c.Options, im, inv)
}

// AddBattery adds a storage inverter, or a hybrid when it has a sun.
func (p *Plant) AddBattery(c Battery) (*Device, error) {
	c.Options = c.Options.named()
	b, im, err := newBattery(c)
	if err != nil {
		return nil, err
	}
	return p.add(c.Options, im, b)
}

// AddMeter adds a meter at the grid connection.
func (p *Plant) AddMeter(c Meter) (*Device, error) {
	c.Options = c.Options.named()
	m, im, err := newMeter(c)
	if err != nil {
		return nil, err
	}
	return p.add(c.Options, im, m)
}

func (o Options) named() Options {
	if o.Unit == 0 {
		o.Unit = 1
	}
	return o
}

// add puts a device behind its listener.
func (p *Plant) add(o Options, im *image, ph physics) (*Device, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	s := o.Server
	if s == nil {
		var err error
		if s, err = p.AddServer(ServerConfig{}); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.running {
		return nil, fmt.Errorf("the plant runs: add listeners and devices before Run")
	}
	if s.plant != p {
		return nil, fmt.Errorf("the listener %s belongs to another plant", s.addr)
	}
	if s.units[o.Unit] != nil {
		return nil, fmt.Errorf("unit %d at %s is taken", o.Unit, s.addr)
	}
	if o.Serial == "" { // no two of a plant are one
		im.text(1, "SN", fmt.Sprintf("SIM-%03d-%03d", o.Unit, len(p.devices)+1))
	}
	d := &Device{plant: p, server: s, unit: o.Unit, opt: o, im: im, physics: ph,
		timers: map[string]time.Time{}, changed: make(chan struct{})}
	s.units[o.Unit] = d
	p.devices = append(p.devices, d)
	p.settle()
	return d, nil
}

// settle brings every device to rest at the present instant, ramps aside.
func (p *Plant) settle() {
	p.each(func(d *Device) {
		rate := d.opt.RampRate
		d.opt.RampRate = 0
		d.physics.step(d, p.last, 0)
		d.opt.RampRate = rate
		d.physics.publish(d, p.last)
	})
}

// each visits generators, then storage, then meters: each sees what those
// before it do.
func (p *Plant) each(visit func(*Device)) {
	for rank := range 3 {
		for _, d := range p.devices {
			if d.rank() == rank {
				visit(d)
			}
		}
	}
}

func (d *Device) rank() int {
	switch d.physics.(type) {
	case *inverter:
		return 0
	case *battery:
		return 1
	}
	return 2
}

// Step moves the physics on to now. Time never runs backwards in a plant.
func (p *Plant) Step(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for p.last.Before(now) {
		dt := min(now.Sub(p.last), maxStride)
		p.last = p.last.Add(dt)
		p.drawn = p.load(p.last)
		p.each(func(d *Device) {
			d.revert(p.last)
			d.physics.step(d, p.last, dt)
		})
	}
	p.each(func(d *Device) { d.physics.publish(d, p.last) })
}

// Run serves every listener and keeps the physics moving until ctx ends; then
// it closes everything. A plant runs once.
func (p *Plant) Run(ctx context.Context) error {
	p.mu.Lock()
	if p.running {
		p.mu.Unlock()
		return fmt.Errorf("the plant runs already")
	}
	p.running = true
	servers := p.servers
	p.mu.Unlock()
	var serving sync.WaitGroup
	defer serving.Wait()
	for _, s := range servers {
		serving.Go(func() { s.run(ctx) })
	}
	ticks := time.NewTicker(p.tick)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
			p.Step(p.now())
		}
	}
}

// Close frees the listeners of a plant that was never run.
func (p *Plant) Close() {
	p.mu.Lock()
	servers := p.servers
	p.mu.Unlock()
	for _, s := range servers {
		s.Down()
	}
}

// Grid is the true power at the grid connection in W, + = export.
func (p *Plant) Grid() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.grid()
}

// Load is what the house draws now, W.
func (p *Plant) Load() float64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.drawn
}

// SetLoad makes the house draw a constant power from the next step on.
func (p *Plant) SetLoad(watts float64) { p.SetLoadFunc(func(time.Time) float64 { return watts }) }

// SetLoadFunc changes what the house draws from the next step on.
func (p *Plant) SetLoadFunc(load func(time.Time) float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.load = load
}

// Devices lists all devices in the order they were added.
func (p *Plant) Devices() []*Device {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*Device(nil), p.devices...)
}

func (p *Plant) grid() float64 {
	sum := -p.drawn
	for _, d := range p.devices {
		if d.rank() < 2 {
			sum += d.power
		}
	}
	return sum
}

// sun is what all panels give, those behind hybrids included.
func (p *Plant) sun() float64 {
	sum := 0.0
	for _, d := range p.devices {
		switch ph := d.physics.(type) {
		case *inverter:
			sum += d.power
		case *battery:
			sum += ph.shining
		}
	}
	return sum
}

// shortfall is d's share, by rating, of what the house draws beyond the sun.
func (p *Plant) shortfall(d *Device) float64 {
	own, all := 0.0, 0.0
	for _, o := range p.devices {
		if b, ok := o.physics.(*battery); ok {
			all += b.cfg.Rated
			if o == d {
				own = b.cfg.Rated
			}
		}
	}
	return (p.drawn - p.sun()) * own / math.Max(all, 1)
}
