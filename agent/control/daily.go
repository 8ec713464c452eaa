package control

import (
	"context"
	"sync"
	"time"

	"flexd/agent/flex"
)

// How the energy of the day is measured: a gap between two readings longer
// than dailyGap is not guessed at; the sums go to the disk every dailyKeep.
const (
	dailyGap  = time.Minute
	dailyKeep = 5 * time.Minute
)

// Days keeps the day's energies over restarts.
type Days interface {
	LoadDays() ([]flex.DayEnergy, error)
	PutDays([]flex.DayEnergy) error
}

// daily sums what every battery discharges on a day of the site, whoever asks
// for it: cycles wear a battery out all the same.
type daily struct {
	zone *time.Location

	mu   sync.Mutex
	days map[flex.DeviceID]*day
}

type day struct {
	name string // YYYY-MM-DD
	wh   float64
	at   time.Time // of the last reading
}

// add counts the power of a reading for the time since the last one.
func (d *daily) add(r flex.Reading) {
	p := r.Battery
	if p == nil {
		p = r.Power
	}
	if p == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	x := d.of(r.Device, r.At)
	if dt := r.At.Sub(x.at); dt > 0 && dt <= dailyGap && *p > 0 {
		x.wh += float64(*p) * dt.Hours()
	}
	x.at = r.At
}

// of is the day of a device; mu is held.
func (d *daily) of(id flex.DeviceID, now time.Time) *day {
	name := now.In(d.zone).Format(time.DateOnly)
	x := d.days[id]
	if x == nil {
		x = &day{name: name}
		d.days[id] = x
	}
	if x.name < name {
		x.name, x.wh = name, 0
	}
	return x
}

// discharged is what the device has discharged today.
func (d *daily) discharged(id flex.DeviceID, now time.Time) flex.WattHours {
	d.mu.Lock()
	defer d.mu.Unlock()
	return flex.WattHours(d.of(id, now).wh)
}

// list is every device's day.
func (d *daily) list() []flex.DayEnergy {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]flex.DayEnergy, 0, len(d.days))
	for id, x := range d.days {
		out = append(out, flex.DayEnergy{Device: id, Day: x.name, Discharged: flex.WattHours(x.wh)})
	}
	return out
}

// keepDays loads the day's energies, and keeps them from time to time and at
// the end.
func (c *Controller) keepDays(ctx context.Context) {
	if c.cfg.Days == nil || !c.bounded() {
		return
	}
	list, err := c.cfg.Days.LoadDays()
	if err != nil {
		c.log.Error("cannot read the energies of the day: the owner's daily cycles begin anew", "error", err)
	}
	now := time.Now()
	c.daily.mu.Lock()
	for _, e := range list {
		if x := c.daily.of(e.Device, now); x.name == e.Day && e.Discharged > 0 {
			x.wh += float64(e.Discharged)
		}
	}
	c.daily.mu.Unlock()
	ticker := time.NewTicker(dailyKeep)
	defer ticker.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-ticker.C:
		}
		if err := c.cfg.Days.PutDays(c.daily.list()); err != nil {
			c.log.Warn("cannot keep the energies of the day", "error", err)
		}
	}
}

// bounded tells whether any owner bounds the day's cycles.
func (c *Controller) bounded() bool {
	for _, s := range c.slots {
		if s.set.Cycles > 0 {
			return true
		}
	}
	return false
}

// left is what the owner still allows to be discharged today; nil: no bound.
// The energy of one cycle is the device's own; one that does not tell it
// cannot be bounded so.
func (s *slot) left(now time.Time) *flex.WattHours {
	if s.set.Cycles <= 0 || s.plate.Energy <= 0 {
		return nil
	}
	whole := flex.WattHours(float64(s.plate.Energy) * float64(s.set.Cycles) / 100)
	left := max(0, whole-s.c.daily.discharged(s.id(), now))
	return &left
}
