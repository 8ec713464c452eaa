package control

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// worn names a counter.
type worn struct {
	device        flex.DeviceID
	register, day string
}

// wear counts writes to persistent registers. Whoever counts never waits: a
// goroutine of its own takes the counts to the disk, and ends when there is
// nothing left.
type wear struct {
	budget Budget
	log    *slog.Logger
	life   context.Context // ends with the Controller
	owner  *sync.WaitGroup
	now    chan struct{} // somebody waits

	mu      sync.Mutex
	counts  map[worn]*flex.Wear
	loaded  bool
	pending []flex.Wear
	writing bool
}

func dayOf(now time.Time) string { return now.UTC().Format(time.DateOnly) }

// midnight is when the budgets begin anew.
func midnight(now time.Time) time.Time { return now.UTC().Truncate(24 * time.Hour).Add(24 * time.Hour) }

// note counts the persistent ones among the registers that were written.
func (w *wear) note(id flex.DeviceID, regs []flex.Register, fallback int, now time.Time) (counted bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range regs {
		if !r.Persistent {
			continue
		}
		n := flex.Wear{Device: id, Register: registerName(r), Day: dayOf(now), N: 1, Limit: r.Budget}
		if n.Limit <= 0 {
			n.Limit = fallback
		}
		counted = true
		w.add(n)
		if w.budget == nil {
			continue
		}
		w.pending = append(w.pending, n)
		if !w.writing {
			w.writing = true
			w.owner.Go(w.write)
		}
	}
	return counted
}

func registerName(r flex.Register) string {
	if r.Name == "" {
		return fmt.Sprint(r.Addr)
	}
	return fmt.Sprintf("%s (%d)", r.Name, r.Addr)
}

// add sums up; mu is held. Counters of other days are forgotten.
func (w *wear) add(n flex.Wear) {
	for k := range w.counts {
		if k.device == n.Device && k.day < n.Day {
			delete(w.counts, k)
		}
	}
	k := worn{n.Device, n.Register, n.Day}
	if old := w.counts[k]; old != nil {
		n.N += old.N
	}
	w.counts[k] = &n
}

// load adds what earlier processes have counted, once.
func (w *wear) load(ctx context.Context, now time.Time) error {
	w.mu.Lock()
	done := w.loaded || w.budget == nil
	w.mu.Unlock()
	if done {
		return nil
	}
	list, err := w.budget.Load(ctx)
	if err != nil {
		return fmt.Errorf("cannot read the counts of writes to persistent registers: %w", err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.loaded = true
	for _, n := range list {
		if n.Day == dayOf(now) && n.N > 0 {
			if n.Limit <= 0 {
				n.Limit = writeBudget
			}
			w.add(n)
		}
	}
	return nil
}

// write takes the counts of a moment to the disk together. Those whose fate is
// not known are added once more: better too many than too few.
func (w *wear) write() {
	var wait time.Duration
	for {
		company := time.NewTimer(gather)
		select {
		case <-w.life.Done():
		case <-w.now:
		case <-company.C:
		}
		company.Stop()
		w.mu.Lock()
		if len(w.pending) == 0 || w.life.Err() != nil {
			w.writing = false
			w.mu.Unlock()
			return
		}
		took := len(w.pending)
		more := summed(w.pending)
		w.mu.Unlock()
		if err := w.budget.Add(w.life, more); err != nil {
			if wait == 0 {
				w.log.Error("cannot keep the counts of writes to persistent registers", "error", err)
			}
			sleep(w.life, grow(&wait, retryMin, retryMax))
			continue
		}
		wait = 0
		w.mu.Lock()
		w.pending = w.pending[took:]
		w.mu.Unlock()
	}
}

// summed are the counts with one for each register and day.
func summed(list []flex.Wear) (out []flex.Wear) {
	for _, n := range list {
		i := slices.IndexFunc(out, func(o flex.Wear) bool { return o.Device == n.Device && o.Register == n.Register && o.Day == n.Day })
		if i < 0 {
			out = append(out, n)
			continue
		}
		out[i].N += n.N
		out[i].Limit = n.Limit
	}
	return out
}

// settled tells whether everything is on disk.
func (w *wear) settled() bool {
	poke(w.now)
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.pending) == 0
}

// of are today's counters of a device, by register.
func (w *wear) of(id flex.DeviceID, now time.Time) []flex.Wear {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []flex.Wear
	for k, n := range w.counts {
		if k.device == id && k.day == dayOf(now) {
			out = append(out, *n)
		}
	}
	slices.SortFunc(out, func(a, b flex.Wear) int { return cmp.Compare(a.Register, b.Register) })
	return out
}

// count is how often a register of the device was written on a day.
func (w *wear) count(id flex.DeviceID, register, day string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := w.counts[worn{id, register, day}]; n != nil {
		return n.N
	}
	return 0
}

// spent is a register of the device that has no writes left today.
func (w *wear) spent(id flex.DeviceID, now time.Time) (flex.Wear, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k, n := range w.counts {
		if k.device == id && k.day == dayOf(now) && n.N >= n.Limit {
			return *n, true
		}
	}
	return flex.Wear{}, false
}

// thrift is what is known of how writes to a device wear it out.
type thrift struct {
	light    bool        // a changed setpoint wrote no persistent register, last time
	rewrites bool        // the same setpoint again wrote one, last time
	raised   bool        // its alarm is raised
	lease    []flex.Toll // what this lease has worn out so far
	last     []flex.Toll // and the last one
}

// wore counts what a write has worn out; mu is held. It is called before the
// target counts as proven.
func (s *slot) wore(t flex.Target, rec flex.Receipt) {
	now := time.Now()
	counted := s.c.wear.note(s.id(), rec.Wrote, s.limit(flex.Register{}), now)
	s.wearing.tolled(rec.Wrote)
	if t.Order != flex.OrderNone && s.told.Order == t.Order && !s.lost {
		if alike(s.told, t) {
			if counted && !s.wearing.rewrites {
				s.c.log.Warn("the same setpoint was written to persistent registers again", "device", s.id())
			}
			s.wearing.rewrites = counted
		} else {
			s.wearing.light = !counted
		}
	}
	if why := s.spent(now); why != nil && counted {
		s.wearing.raised = true
		s.c.cfg.Health.Raise(CodeWriteBudget, string(s.id()), why.Text)
	}
}

// spent tells why no persistent register may be written any more today.
func (s *slot) spent(now time.Time) *flex.Refusal {
	n, ok := s.c.wear.spent(s.id(), now)
	if !ok {
		return nil
	}
	return flex.Refuse(flex.ReasonWriteBudget, "%s: register %s was written %d times today, %d are allowed: from now on only what hands the device back, until %s",
		s.id(), n.Register, n.N, n.Limit, midnight(now).Format(time.RFC3339))
}

// overdrawn tells why a target must not be written: the budget is spent, and
// the write is not known to spare the persistent registers.
func (s *slot) overdrawn(t flex.Target, now time.Time) *flex.Refusal {
	why := s.spent(now)
	if why == nil || s.told.Order == t.Order && !s.lost && !s.unsure && !s.own.pending &&
		!s.wearing.rewrites && (alike(s.told, t) || s.wearing.light) {
		return nil
	}
	s.wearing.raised = true
	return why
}

// freshDay takes the alarm back when the budget begins anew; mu is held.
func (s *slot) freshDay(now time.Time) {
	if s.wearing.raised && s.spent(now) == nil {
		s.wearing.raised = false
		s.noteClear(CodeWriteBudget)
	}
}

// loadWear reads the counts; a failure holds up nothing that hands back.
func (c *Controller) loadWear(ctx context.Context) bool {
	err := c.wear.load(ctx, time.Now())
	if err != nil {
		c.cfg.Health.Raise(CodeStoreFailing, "write_budget", err.Error())
		return false
	}
	c.cfg.Health.Clear(CodeStoreFailing, "write_budget")
	for _, s := range c.slots { // the alarms of an earlier process
		s.mu.Lock()
		if why := s.spent(time.Now()); why != nil {
			s.wearing.raised = true
			c.cfg.Health.Raise(CodeWriteBudget, string(s.id()), why.Text)
		}
		s.mu.Unlock()
	}
	return true
}

// readWear goes on trying until the counts are read.
func (c *Controller) readWear(ctx context.Context) {
	var wait time.Duration
	for !c.loadWear(ctx) {
		if !sleep(ctx, grow(&wait, retryMin, retryMax)) {
			return
		}
	}
}
