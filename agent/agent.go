package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"flexd/agent/clock"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/fleet"
	"flexd/agent/health"
	"flexd/agent/ingress"
	"flexd/agent/intake"
	"flexd/agent/local"
	"flexd/agent/meter"
	"flexd/agent/piclo"
	"flexd/agent/preflight"
	"flexd/agent/run"
	"flexd/agent/siblings"
	"flexd/agent/telemetry"
	"flexd/agent/why"
	"flexd/drivers"
	"flexd/firmware"
	"flexd/store"
	"flexd/store/series"
	"flexd/systemd"
)

// Limits of starting and stopping.
const (
	shutdownLimit = 30 * time.Second // less than TimeoutStopSec of the unit
	beatLimit     = 10 * time.Second // a vital loop that has not finished a cycle for longer is stuck
)

// Agent is the whole of flexd, built and ready to run. Everything it needs
// comes from its configuration file.
type Agent struct {
	log     *slog.Logger
	conf    loaded
	id      firmware.Identity
	wall    *clock.Wall
	servers *clock.Servers // nil when none are listed
	health  *health.Tracker
	events  *events
	db      *store.DB
	devices *drivers.Set
	market  *piclo.Market
	board   *dispatch.Board
	meter   *meter.Meter
	// nominating lets one nomination at a time read, merge and store.
	nominating sync.Mutex
	engine     *dispatch.Engine
	control    *control.Controller
	bench      *bench
	claims     *claims
	why        *why.History
	whyDB      *series.DB // nil: history is not kept beyond the process
	intake     *intake.Intake
	sync       *intake.Sync
	answers    *dispatch.Answers
	webhook    *ingress.Webhook   // nil when there is no such door
	relay      *ingress.RelayDoor // nil when there is no such door
	poller     *ingress.Poller
	fleet      *fleet.Fleet    // nil when there is no broker
	siblings   *siblings.Watch // nil without a group
	checks     *preflight.Runner
	tele       *telemetry.Log
	page       *local.Page // nil when off
	socket     *local.Socket
	notifier   *systemd.Notifier
	group      *run.Group
	beat       run.Beat
	started    time.Time
	trial      bool // built to be looked at, not to run
	session    uint64
	closing    sync.Once
	closeErr   error
}

// New builds an agent from the configuration at path. Nothing outside this
// process is touched but the store. The error wraps ErrNoConfig when there is
// neither a usable configuration nor a last good one.
func New(path string, log *slog.Logger) (*Agent, error) {
	return newAgent(path, log, &clock.System{BootID: systemd.BootID()})
}

// newAgent is New by a clock of the caller's. A configuration that can be read
// and of which no agent can be built counts as broken.
func newAgent(path string, log *slog.Logger, src clock.Source) (*Agent, error) {
	a, err := assemble(path, nil, log, src)
	var unfit *unfitError
	if errors.As(err, &unfit) {
		if a, gerr := assemble(path, unfit, log, src); gerr == nil {
			return a, nil
		} else if errors.Is(gerr, ErrNoConfig) {
			return nil, gerr
		}
	}
	return a, err
}

// unfitError tells why no agent can be built of a configuration.
type unfitError struct{ err error }

func (e *unfitError) Error() string { return e.err.Error() }
func (e *unfitError) Unwrap() error { return e.err }

func assemble(path string, unfit error, log *slog.Logger, src clock.Source) (*Agent, error) {
	a := &Agent{log: log, id: firmware.Self(), notifier: systemd.FromEnv(), started: time.Now().UTC()}
	a.wall = clock.New(src, a.id.Built)
	a.events = newEvents(log, a.wall.Stamp)
	conf, err := load(path, unfit, a.openStore, log)
	if err != nil {
		return nil, err
	}
	a.conf, a.db = conf, conf.db
	a.health = health.New(items(conf.cfg.RequireCommissioning), a.events.changed)
	if err := a.build(); err != nil {
		return nil, errors.Join(&unfitError{err}, a.Close())
	}
	a.raiseAtStart()
	return a, nil
}

// raiseAtStart says aloud what was found while building.
func (a *Agent) raiseAtStart() {
	if a.conf.broken != nil {
		a.health.Raise(codeConfigBroken, "", fmt.Sprintf("%v; the last good configuration runs on", a.conf.broken))
	}
	if a.conf.copied != nil {
		a.health.Raise(codeStateUnusable, "", a.conf.copied.text())
	}
	if a.db.Lost() {
		a.health.Raise(codeStateLost, "", "the state file was damaged or missing: it is kept aside, and a backup or an empty one is in use")
	}
	a.tellDamaged()
}

// Run starts everything in order and serves until ctx ends, then hands the
// devices back. It returns nil after an orderly end, and ErrHealed when it ran
// on a copy of the state and is needed no more.
func (a *Agent) Run(ctx context.Context) error {
	// The devices' connections outlive everything else: they are needed for
	// the last release.
	wires, cut := context.WithCancel(context.WithoutCancel(ctx))
	var wiring sync.WaitGroup
	wiring.Go(func() {
		if err := a.devices.Run(wires); err != nil && wires.Err() == nil {
			a.log.Error("the device connections failed", "error", err)
		}
	})
	defer func() { cut(); wiring.Wait() }()

	a.log.Info("flexd starts", "version", a.id.Version, "site", a.conf.cfg.Site.ID, "config", a.conf.source())
	if err := a.engine.Recover(ctx); err != nil {
		return fmt.Errorf("cannot take up the instructions where they were: %w", err)
	}
	// What is owed to the devices is known before anything new is taken in. The
	// doors need not wait until it is done: they only store, and control hands
	// each device back before it tells it anything new.
	if err := a.control.Recover(ctx); err != nil {
		a.log.Error("cannot read what is owed to the devices, none is controlled before that is known", "error", err)
	}

	err := a.group.Run(ctx)
	a.shutdown(err)
	return err
}

// shutdown hands the devices back. After a vital failure the service manager
// starts us again within seconds: devices that fall back by themselves keep
// their lease for that time, the others are released.
func (a *Agent) shutdown(failed error) {
	if err := a.notifier.Stopping(shutdownLimit); err != nil {
		a.log.Warn("cannot tell the service manager", "error", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), shutdownLimit)
	defer cancel()
	if err := a.control.Shutdown(ctx, failed == nil); err != nil {
		a.log.Error("not every device is released, the next start goes on with it", "error", err)
		return
	}
	if failed == nil {
		a.log.Info("every device is handed back")
	}
}

// Ready closes once every vital part serves.
func (a *Agent) Ready() <-chan struct{} { return a.group.Ready() }

// Close gives the files back. Call it after Run has returned.
func (a *Agent) Close() error {
	a.closing.Do(func() {
		a.claims.close()
		if a.health != nil {
			a.health.Close()
		}
		if a.tele != nil {
			a.closeErr = errors.Join(a.closeErr, a.tele.Close())
		}
		if a.whyDB != nil {
			a.closeErr = errors.Join(a.closeErr, a.whyDB.Close())
		}
		if a.db != nil {
			a.closeErr = errors.Join(a.closeErr, a.db.Close())
		}
		a.closeErr = errors.Join(a.closeErr, a.conf.copied.remove())
	})
	return a.closeErr
}

// attend tells the service manager when everything serves, and feeds its
// watchdog only while the control loop completes its cycles: a watchdog fed by
// a timer proves only that timers work.
func (a *Agent) attend(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-a.group.Ready():
	}
	a.log.Info("flexd is ready", "site", a.conf.cfg.Site.ID)
	if err := a.notifier.Ready("serving site " + string(a.conf.cfg.Site.ID)); err != nil {
		return err
	}
	interval := a.notifier.WatchdogInterval()
	if interval == 0 {
		<-ctx.Done()
		return nil
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if !a.beat.Alive(now, beatLimit) {
				a.log.Error("the control loop has not completed a cycle, the watchdog is not fed", "limit", beatLimit)
				continue
			}
			if err := a.notifier.Feed(); err != nil {
				return err
			}
		}
	}
}
