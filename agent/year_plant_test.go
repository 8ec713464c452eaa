package agent_test

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"flexd/agent/flex"
)

// house is the plant of the simulated year: what its devices do is the truth
// that everything else is held against.
type house struct {
	mu    sync.Mutex
	cells []*cell
	at    time.Time
}

// cell is one device: a battery, panels, or the meter that sees them all.
type cell struct {
	house  *house
	id     flex.DeviceID
	role   flex.Role
	rating flex.Watts
	energy float64 // Wh
	soc    float64 // 0 to 1
	power  float64 // W now
	ramp   float64 // W/s

	told    *flex.Watts
	until   time.Time
	offline bool
	back    time.Time // it answers again since then
	murky   int       // so many writes more are done and their answer is lost
	vanish  int       // so many writes more are lost, and the answer says nothing
	writes  int
}

// draw is what the house takes at an instant: a day's rhythm, a fridge, and a
// kettle now and then.
func draw(t time.Time) float64 {
	day := 2 * math.Pi * float64(t.Unix()%86_400) / 86_400
	w := 1200 - 600*math.Cos(day) + 80*math.Sin(float64(t.Unix()%600)/600*2*math.Pi)
	if t.Unix()/60%17 == 0 {
		w += 2500
	}
	return w
}

// sun is what the panels could give.
func sun(t time.Time) float64 {
	h := float64(t.Unix()%86_400)/3600 - 12
	return math.Max(0, 5000*(1-h*h/36))
}

// settle brings the plant to now. mu is held.
func (h *house) settle() {
	now := time.Now()
	for h.at.Before(now) {
		dt := min(now.Sub(h.at), time.Second)
		if now.Sub(h.at) > time.Hour {
			dt = now.Sub(h.at) // nobody looks
		}
		h.at = h.at.Add(dt)
		for _, c := range h.cells {
			c.step(h.at, dt.Seconds())
		}
	}
}

func (c *cell) step(at time.Time, dt float64) {
	if c.told != nil && !at.Before(c.until) {
		c.told = nil
	}
	want := 0.0
	switch c.role {
	case flex.RolePV:
		if want = sun(at); c.told != nil {
			want = math.Min(want, float64(*c.told))
		}
	case flex.RoleStorage, flex.RoleHybrid:
		if c.told != nil {
			want = float64(*c.told)
		}
		if want > 0 && c.soc <= 0 || want < 0 && c.soc >= 1 {
			want = 0
		}
	case flex.RoleMeter:
		return
	}
	move := c.ramp * dt
	c.power += math.Max(-move, math.Min(move, want-c.power))
	if c.energy > 0 {
		c.soc = math.Max(0, math.Min(1, c.soc-c.power*dt/3600/c.energy))
	}
}

// grid is the exchange with the grid, + export. mu is held.
func (h *house) grid() float64 {
	sum := -draw(h.at)
	for _, c := range h.cells {
		sum += c.power
	}
	return sum
}

// look runs something on the plant as it is now.
func (h *house) look(fn func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.settle()
	fn()
}

var errGone = errors.New("connection refused")

func (c *cell) ID() flex.DeviceID { return c.id }
func (c *cell) Endpoint() string  { return string(c.id) + ":502" }
func (c *cell) Unit() uint8       { return 1 }

// reach is one exchange over the wire: 5 ms, or nothing.
func (c *cell) reach(ctx context.Context, do func()) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Millisecond):
	}
	err := ctx.Err()
	c.house.look(func() {
		if c.offline {
			err = errGone
		}
		if err == nil {
			do()
		}
	})
	return err
}

func (c *cell) Open(ctx context.Context) (flex.Nameplate, error) {
	p := flex.Nameplate{Model: "cell", Serial: "s-" + string(c.id), Role: c.role, MaxPower: c.rating, Revert: true}
	switch c.role {
	case flex.RolePV:
		p.Can = []flex.Capability{flex.CanCap, flex.CanMeasure}
	case flex.RoleMeter:
		p.Can = []flex.Capability{flex.CanMeasure}
	case flex.RoleStorage, flex.RoleHybrid:
		p.Can = []flex.Capability{flex.CanSet, flex.CanMeasure, flex.CanSoC}
		p.MaxCharge, p.MaxDischarge, p.Energy = c.rating, c.rating, flex.WattHours(c.energy)
	}
	return p, c.reach(ctx, func() {})
}

func (c *cell) Read(ctx context.Context) (r flex.Reading, err error) {
	err = c.reach(ctx, func() {
		w, acting := flex.Watts(math.Round(c.power)), c.told != nil
		r = flex.Reading{Device: c.id, At: time.Now(), Power: &w, Acting: &acting}
		switch {
		case c.role == flex.RoleMeter:
			w = flex.Watts(math.Round(c.house.grid()))
			r.Acting = nil
		case c.energy > 0:
			soc := flex.Percent(c.soc * 10_000)
			r.SoC = &soc
		case c.told != nil:
			limit := *c.told
			r.Limit = &limit
		}
	})
	return r, err
}

func (c *cell) holds() []flex.Register {
	if c.told == nil {
		return []flex.Register{{Words: []uint16{0}}}
	}
	return []flex.Register{{Words: []uint16{1, uint16(*c.told)}}}
}

func (c *cell) Snapshot(ctx context.Context) (s flex.Snapshot, err error) {
	err = c.reach(ctx, func() {
		s = flex.Snapshot{Device: c.id, At: time.Now(), Serial: "s-" + string(c.id), Controlled: c.told != nil, Registers: c.holds()}
	})
	return s, err
}

func (c *cell) Verify(ctx context.Context, t flex.Target) (r flex.Receipt, err error) {
	err = c.reach(ctx, func() {
		r = flex.Receipt{Device: c.id, At: time.Now(), Echo: c.told != nil && *c.told == t.Power, Holds: c.holds()}
	})
	return r, err
}

func (c *cell) Apply(ctx context.Context, t flex.Target) (r flex.Receipt, err error) {
	var lost error
	sent := time.Now()
	err = c.reach(ctx, func() {
		r = flex.Receipt{Device: c.id, Sent: sent}
		if c.vanish > 0 {
			c.vanish--
			lost = flex.ErrUncertain
			return
		}
		w := t.Power
		c.told, c.until = &w, time.Now().Add(t.Revert)
		c.writes++
		if c.murky > 0 {
			c.murky--
			lost = flex.ErrUncertain
			return
		}
		r = flex.Receipt{Device: c.id, Sent: sent, At: time.Now(), Echo: true, Holds: c.holds(), Effective: w}
	})
	return r, errors.Join(err, lost)
}

func (c *cell) Release(ctx context.Context, _ flex.JournalEntry) (r flex.Receipt, err error) {
	err = c.reach(ctx, func() {
		c.told = nil
		c.writes++
		r = flex.Receipt{Device: c.id, At: time.Now(), Echo: true, Holds: c.holds()}
	})
	return r, err
}

func (c *cell) Neutral(ctx context.Context) (flex.Receipt, error) {
	return c.Release(ctx, flex.JournalEntry{})
}
