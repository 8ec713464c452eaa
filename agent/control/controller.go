package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// Controller is the vital task "control".
type Controller struct {
	cfg   Config
	log   *slog.Logger
	slots []*slot
	byID  map[flex.DeviceID]*slot
	units []*unit
	wake  chan struct{}
	ready chan struct{}
	once  sync.Once

	life   context.Context // of the journal's writers: they outlive Run, for Shutdown
	end    context.CancelFunc
	books  sync.WaitGroup
	keeper *keeper
	wear   *wear

	distrusts chan struct{} // they changed

	daily *daily

	mu      sync.Mutex
	plan    allocate.Plan
	starts  map[flex.InstructionID]time.Time // window starts, to see a new life of an id
	orphans []flex.JournalEntry              // of devices that are not configured
	alerts  map[alert]bool                   // the planner's findings that are raised
	known   bool                             // the journal was read
	closed  bool
	missed  map[flex.AssetID]*missing // written by the planner alone
	energy  tallies                   // likewise
	stop    context.CancelFunc        // of Run
	stopped chan struct{}             // closes when Run has ended

	// Of the planner alone.
	storeBad time.Time // since when the store fails
	last     time.Time // instant of the last cycle
	desk     desk
}

type alert struct{ code, subject string }

// New builds a controller; nothing is written before Recover or Run.
func New(cfg Config) *Controller {
	cfg = cfg.withDefaults()
	c := &Controller{cfg: cfg, log: cfg.Log, byID: map[flex.DeviceID]*slot{}, wake: make(chan struct{}, 1), distrusts: make(chan struct{}, 1), ready: make(chan struct{}),
		starts: map[flex.InstructionID]time.Time{}, alerts: map[alert]bool{}, missed: map[flex.AssetID]*missing{}, energy: newTallies()}
	c.life, c.end = context.WithCancel(context.Background())
	c.wear = &wear{budget: cfg.Budget, log: c.log, life: c.life, owner: &c.books, now: make(chan struct{}, 1), counts: map[worn]*flex.Wear{}}
	c.daily = &daily{zone: cfg.Zone, days: map[flex.DeviceID]*day{}}
	c.keeper = newKeeper(c.life, cfg.Journal, c.log, &c.books)
	byWire := map[string]*unit{}
	for i, d := range cfg.Devices {
		s := &slot{c: c, dev: d, told: free(d.ID()), served: map[flex.InstructionID]*served{}}
		if i < len(cfg.Settings) {
			s.set = cfg.Settings[i]
		}
		wire := fmt.Sprintf("%s/%d", d.Endpoint(), d.Unit())
		u := byWire[wire]
		if u == nil {
			u = newUnit(c, len(c.units))
			byWire[wire] = u
			c.units = append(c.units, u)
		}
		u.slots = append(u.slots, s)
		s.unit = u
		s.book = c.keeper.add(d.ID(), func() { poke(u.wake) })
		c.slots = append(c.slots, s)
		c.byID[d.ID()] = s
	}
	cfg.Board.OnChange(c.Wake)
	return c
}

// Name names the task.
func (c *Controller) Name() string { return "control" }

// Ready closes after the first plan.
func (c *Controller) Ready() <-chan struct{} { return c.ready }

// Wake makes the planner look now. It never blocks.
func (c *Controller) Wake() { poke(c.wake) }

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Run plans and makes the devices follow until ctx ends. It leaves the devices
// as they are then: Shutdown hands them back.
func (c *Controller) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	if !c.enter(cancel) {
		return errors.New("control was shut down or is running already")
	}
	defer close(c.stopped)
	var wg sync.WaitGroup
	part := func(fn func(context.Context)) {
		wg.Go(func() {
			defer func() {
				if r := recover(); r != nil {
					cancel(fmt.Errorf("panic: %v\n%s", r, debug.Stack()))
				}
			}()
			fn(ctx)
		})
	}
	part(c.readJournal)
	for _, u := range c.units {
		part(u.read)
		part(u.reconcile)
	}
	part(c.planner)
	part(c.forecaster)
	part(c.keepDays)
	part(c.writeDistrusts)
	wg.Wait()
	if err := context.Cause(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return nil
}

func (c *Controller) enter(cancel context.CancelCauseFunc) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.stopped != nil {
		return false
	}
	c.stop, c.stopped = func() { cancel(context.Canceled) }, make(chan struct{})
	return true
}

// Status is every device as people see it.
func (c *Controller) Status() []flex.DeviceStatus {
	out := make([]flex.DeviceStatus, len(c.slots))
	for i, s := range c.slots {
		out[i] = s.status()
	}
	return out
}

// Plan is the planner's latest answer.
func (c *Controller) Plan() allocate.Plan {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plan
}
