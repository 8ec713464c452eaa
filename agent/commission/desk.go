package commission

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Phase is where a commissioning stands.
type Phase string

// The phases.
const (
	PhaseNone    Phase = "none"
	PhaseRunning Phase = "running"
	PhaseDone    Phase = "done"
	PhaseFailed  Phase = "failed"
)

// State is a commissioning as the person watching sees it.
type State struct {
	Device flex.DeviceID `json:"device"`
	Phase  Phase         `json:"phase"`
	Step   string        `json:"step,omitempty"`
	Text   string        `json:"text,omitempty"`
	Lines  []string      `json:"lines,omitempty"` // what was found, for people
	Error  string        `json:"error,omitempty"`
	Proven bool          `json:"proven,omitempty"`
	Record *Signed       `json:"record,omitempty"`
}

// watchLimit ends a run that nobody looks at any more: the consent is the
// person's in front of it.
const watchLimit = 15 * time.Second

// Desk takes orders from people, one at a time, as the task "commissioning".
type Desk struct {
	runner *Runner
	shelf  *Shelf
	change func() // a record is new
	log    *slog.Logger
	orders chan Order

	mu    sync.Mutex
	open  bool // Run serves
	state State
	seen  time.Time
	stop  context.CancelCauseFunc
}

// NewDesk builds a desk. change, which may be nil, is called when a record is new.
func NewDesk(runner *Runner, shelf *Shelf, change func(), log *slog.Logger) *Desk {
	if change == nil {
		change = func() {}
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Desk{runner: runner, shelf: shelf, change: change, log: log, orders: make(chan Order, 1), state: State{Phase: PhaseNone}}
}

// Name names the task.
func (d *Desk) Name() string { return "commissioning" }

// Run carries orders out until ctx ends; a run that is under way then is ended
// and its device handed back.
func (d *Desk) Run(ctx context.Context) error {
	d.mu.Lock()
	d.open = true
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.open = false
		d.mu.Unlock()
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case o := <-d.orders:
			d.serve(ctx, o)
		}
	}
}

// Errors of runs that were ended.
var (
	errCancelled = errors.New("ended by a person")
	errUnwatched = errors.New("ended: nobody was watching any more")
)

// Start begins a run; State tells how it goes and has to be asked meanwhile.
func (d *Desk) Start(o Order) error {
	if _, err := o.Settings.checked(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.open:
		return flex.Refuse(flex.ReasonDeviceUnavailable, "commissioning is not served now: try again in a moment")
	case d.state.Phase == PhaseRunning:
		return flex.Refuse(flex.ReasonOverlap, "%s is being commissioned", d.state.Device)
	}
	d.state = State{Device: o.Device, Phase: PhaseRunning, Text: "begins"}
	d.seen = time.Now()
	d.orders <- o // it has room: nothing else runs
	return nil
}

// State tells how a device's run goes, and keeps it going.
func (d *Desk) State(id flex.DeviceID) State {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Device != id {
		return State{Device: id, Phase: PhaseNone}
	}
	d.seen = time.Now()
	return d.state
}

// Cancel ends a device's run; the hand-back still takes its time.
func (d *Desk) Cancel(id flex.DeviceID) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.state.Device == id && d.stop != nil {
		d.stop(errCancelled)
	}
}

// Show gives the stored record of a device, verified.
func (d *Desk) Show(id flex.DeviceID) (State, error) {
	r, signed, err := d.shelf.Get(id)
	if err != nil {
		return State{}, flex.Refuse(flex.ReasonNotOurs, "%v", err)
	}
	return State{Device: id, Phase: PhaseDone, Lines: r.Lines(), Proven: r.Proven(), Record: &signed}, nil
}

func (d *Desk) serve(ctx context.Context, o Order) {
	run, stop := context.WithCancelCause(ctx)
	d.mu.Lock()
	d.stop, d.seen = stop, time.Now()
	d.mu.Unlock()
	var watcher sync.WaitGroup
	watcher.Go(func() { d.watch(run, stop) })
	d.log.Warn("a device is commissioned", "device", o.Device, "by", o.By)
	r, err := d.runner.Run(run, o, d.tell)
	if err != nil && run.Err() != nil {
		err = errors.Join(context.Cause(run), err)
	}
	stop(nil)
	watcher.Wait()
	var signed Signed
	if err == nil {
		signed, err = d.shelf.Put(r)
	}
	d.mu.Lock()
	d.stop = nil
	d.state = State{Device: o.Device, Phase: PhaseDone, Lines: r.Lines(), Proven: r.Proven(), Record: &signed}
	if err != nil {
		d.state = State{Device: o.Device, Phase: PhaseFailed, Error: err.Error()}
	}
	d.mu.Unlock()
	d.log.Warn("a commissioning has ended", "device", o.Device, "proven", err == nil && r.Proven(), "error", err)
	if err == nil {
		d.change()
	}
}

// watch ends the run when nobody asks for its state any more.
func (d *Desk) watch(ctx context.Context, stop context.CancelCauseFunc) {
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			d.mu.Lock()
			alone := now.Sub(d.seen) > watchLimit
			d.mu.Unlock()
			if alone {
				stop(errUnwatched)
				return
			}
		}
	}
}

func (d *Desk) tell(step, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Step, d.state.Text = step, text
}
