package control

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// device is a battery with one register: what it was told. It falls back by
// itself when its lease is not renewed, unless stubborn.
type device struct {
	id       flex.DeviceID
	serial   string // "": its own
	wire     string // endpoint, when it is shared
	role     flex.Role
	stubborn bool // never falls back
	lag      time.Duration
	energy   flex.WattHours
	settle   time.Duration // until its power follows, by its map
	pace     time.Duration // what a release takes, by its map
	short    time.Duration // its own fall-back time, where that is shorter than the lease
	restless bool          // it cannot be held at 0 W
	follow   bool          // its setpoint is relative to what moves by itself
	slow     time.Duration // a reading takes so long, on top of lag

	mu        sync.Mutex
	told      *flex.Watts
	until     time.Time
	applies   []time.Time
	powers    []flex.Watts
	reads     int
	reading   bool // a reading is on the wire
	deaf      bool // nothing is answered until ctx ends
	offline   bool
	uncertain int  // so many applies are done and reported as uncertain
	vanish    int  // so many applies are not done and reported as uncertain
	stuck     bool // applies alone are not answered until ctx ends
	refuses   error
	half      error      // the setpoint is in, what follows it is refused
	sun       flex.Watts // of a pv
	left      bool       // a release finds it changed by others
	reluctant int        // so many releases fail
	intents   [][]flex.Register
	before    func() // called before each write
	ignores   bool
	mute      bool // its registers tell nothing of control
	verifies  []time.Time
	gives     func(flex.Watts) flex.Watts // what it makes of a setpoint
	foreign   *flex.Refusal
	neutral   int
	tolls     []flex.Toll
	arm       *flex.Register // written with a setpoint unless it stands
	armed     bool
	forgets   bool // the arming is lost with every write
	armings   int
	audit     func(controlled bool)      // called with every write
	own       func(time.Time) flex.Watts // what it does when free; nil: -200 W
	denies    bool                       // it says that it does not act
	held      *flex.Refusal              // it says that it follows nothing, and why
	rate      flex.Watts                 // W/s at most; 0: at once
	power     flex.Watts                 // now, with a rate
	moved     time.Time
	shines    func(time.Time) flex.Watts // of a hybrid
}

func (d *device) ID() flex.DeviceID { return d.id }
func (d *device) Endpoint() string {
	if d.wire != "" {
		return d.wire
	}
	return string(d.id) + ":502"
}
func (d *device) Unit() uint8 { return 1 }

func (d *device) reach(ctx context.Context) error {
	d.mu.Lock()
	deaf, offline, lag := d.deaf, d.offline, d.lag
	d.mu.Unlock()
	if deaf {
		<-ctx.Done()
		return ctx.Err()
	}
	if offline {
		return errors.New("connection refused")
	}
	if lag > 0 {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lag):
		}
	}
	return ctx.Err()
}

func (d *device) lapse() {
	if d.told != nil && !d.stubborn && !time.Now().Before(d.until) {
		d.told = nil
	}
}

func (d *device) Open(ctx context.Context) (flex.Nameplate, error) {
	if d.role == flex.RolePV {
		return flex.Nameplate{Model: "fake", Serial: "s-" + string(d.id), Role: flex.RolePV, MaxPower: 10_000,
			Can: []flex.Capability{flex.CanCap, flex.CanMeasure}, Revert: !d.stubborn}, d.reach(ctx)
	}
	can := []flex.Capability{flex.CanSet, flex.CanMeasure, flex.CanSoC}
	if !d.restless {
		can = append(can, flex.CanIdle)
	}
	return flex.Nameplate{Model: "fake", Serial: cmp.Or(d.serial, "s-"+string(d.id)), Role: flex.RoleStorage, MaxPower: 10_000, MaxCharge: 10_000, MaxDischarge: 10_000, Energy: d.energy,
		Can: can, Revert: !d.stubborn, Refresh: d.short * 2 / 5, Settle: d.settle, HandBack: d.pace, Tolls: d.tolls, Follow: d.follow}, d.reach(ctx)
}

func (d *device) Read(ctx context.Context) (flex.Reading, error) {
	d.set(func(d *device) { d.reading = true })
	defer d.set(func(d *device) { d.reading = false })
	time.Sleep(d.slow)
	if err := d.reach(ctx); err != nil {
		return flex.Reading{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lapse()
	d.reads++
	w, soc, acting := flex.Watts(-200), flex.Percent(5000), d.told != nil
	if d.own != nil {
		w = d.own(time.Now())
	}
	if d.told != nil && !d.ignores {
		w = *d.told
		if d.gives != nil {
			w = d.gives(w)
		}
	}
	w = d.ramp(w)
	if d.role == flex.RolePV {
		w = d.sun
		if d.told != nil {
			w = min(w, *d.told)
		}
	}
	r := flex.Reading{Device: d.id, At: time.Now(), Power: &w, SoC: &soc, Acting: &acting, Held: d.held}
	if d.own != nil { // it does not say
		r.Acting = nil
	}
	if d.denies {
		r.Acting = new(bool)
	}
	if d.shines != nil {
		battery := w - d.shines(time.Now())
		r.Battery = &battery
	}
	if d.role == flex.RolePV && d.told != nil {
		limit := *d.told
		r.Limit = &limit
	}
	return r, nil
}

// ramp moves the power towards w.
func (d *device) ramp(w flex.Watts) flex.Watts {
	now := time.Now()
	if d.rate > 0 && !d.moved.IsZero() {
		most := d.rate * flex.Watts(now.Sub(d.moved)/time.Millisecond) / 1000
		w = w.Clamp(d.power-most, d.power+most)
	}
	d.power, d.moved = w, now
	return w
}

func (d *device) Snapshot(ctx context.Context) (flex.Snapshot, error) {
	if err := d.reach(ctx); err != nil {
		return flex.Snapshot{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return flex.Snapshot{Device: d.id, At: time.Now(), Serial: "s-" + string(d.id), Controlled: d.told != nil && !d.mute, Foreign: d.foreign}, nil
}

func (d *device) Apply(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	if err := d.reach(ctx); err != nil {
		return flex.Receipt{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lapse()
	if d.stuck {
		d.mu.Unlock()
		<-ctx.Done()
		d.mu.Lock()
		return flex.Receipt{}, ctx.Err()
	}
	if d.refuses != nil {
		return flex.Receipt{}, d.refuses
	}
	if d.before != nil {
		d.before()
	}
	now := time.Now()
	if d.vanish > 0 {
		d.vanish--
		return flex.Receipt{Device: d.id, Sent: now}, flex.ErrUncertain
	}
	w := t.Power
	d.told, d.until = &w, now.Add(t.Revert)
	if d.short > 0 {
		d.until = now.Add(min(t.Revert, d.short))
	}
	d.applies, d.powers = append(d.applies, now), append(d.powers, w)
	if d.half != nil {
		return flex.Receipt{Device: d.id, Sent: now}, d.half
	}
	if d.audit != nil {
		d.audit(true)
	}
	wrote := d.wear()
	if d.uncertain > 0 {
		d.uncertain--
		return flex.Receipt{Device: d.id, Sent: now}, flex.ErrUncertain
	}
	return flex.Receipt{Device: d.id, Sent: now, At: now, Wrote: wrote, Echo: true, Holds: d.holds(), Effective: w}, nil
}

// wear arms the device, unless it is armed.
func (d *device) wear() []flex.Register {
	if d.arm == nil || d.armed && !d.forgets {
		return nil
	}
	d.armed = true
	d.armings++
	return []flex.Register{*d.arm}
}

func (d *device) holds() []flex.Register {
	if d.told == nil {
		return []flex.Register{{Words: []uint16{0}}}
	}
	return []flex.Register{{Words: []uint16{1, uint16(*d.told)}}}
}

func (d *device) Verify(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	if err := d.reach(ctx); err != nil {
		return flex.Receipt{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lapse()
	d.verifies = append(d.verifies, time.Now())
	echo := d.told != nil && *d.told == t.Power
	return flex.Receipt{Device: d.id, At: time.Now(), Echo: echo || d.mute, Holds: d.holds()}, nil
}

func (d *device) Release(ctx context.Context, e flex.JournalEntry) (flex.Receipt, error) {
	if err := d.reach(ctx); err != nil {
		return flex.Receipt{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.intents = append(d.intents, e.Intent)
	if d.reluctant > 0 {
		d.reluctant--
		return flex.Receipt{}, errors.New("busy")
	}
	if d.left {
		return flex.Receipt{Device: d.id, At: time.Now(), Foreign: true}, nil
	}
	rec := flex.Receipt{Device: d.id, At: time.Now(), Echo: true}
	if d.told != nil {
		rec.Wrote = []flex.Register{{Addr: 1}}
	}
	d.told = nil
	if d.arm != nil && d.armed {
		d.armed = false
		d.armings++
		rec.Wrote = append(rec.Wrote, *d.arm)
	}
	return rec, nil
}

func (d *device) Neutral(ctx context.Context) (flex.Receipt, error) {
	d.mu.Lock()
	d.neutral++
	d.mu.Unlock()
	return d.Release(ctx, flex.JournalEntry{})
}

func (d *device) set(fn func(*device)) { d.mu.Lock(); defer d.mu.Unlock(); fn(d) }

// controlled tells whether the device is under a setpoint right now.
func (d *device) controlled() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lapse()
	return d.told != nil
}

func (d *device) log() (times []time.Time, powers []flex.Watts) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.applies), slices.Clone(d.powers)
}

// board is a settable board.
type board struct {
	mu       sync.Mutex
	running  []flex.Dispatch
	holds    []flex.Hold
	failing  bool
	onChange func()
}

func (b *board) Running() []flex.Dispatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := slices.Clone(b.running)
	for i := range out {
		out[i].Shares = slices.Clone(out[i].Shares)
	}
	return out
}
func (b *board) Holds() []flex.Hold { b.mu.Lock(); defer b.mu.Unlock(); return slices.Clone(b.holds) }
func (b *board) StoreFailing() bool { b.mu.Lock(); defer b.mu.Unlock(); return b.failing }
func (b *board) OnChange(fn func()) { b.onChange = fn }
func (b *board) change(fn func(*board)) {
	b.mu.Lock()
	fn(b)
	b.mu.Unlock()
	b.onChange()
}

// journal is a disk that can fail and hang.
type journal struct {
	mu      sync.Mutex
	entries map[flex.DeviceID]flex.JournalEntry
	fail    bool
	blind   bool // the journal cannot be read
	hang    chan struct{}
	takes   time.Duration // every commit
	bad     flex.DeviceID // its entry cannot be written
	commits int
}

func (j *journal) Commit(ctx context.Context, c flex.Changes) error {
	j.mu.Lock()
	hang, takes := j.hang, j.takes
	j.mu.Unlock()
	if takes > 0 && !sleep(ctx, takes) {
		return ctx.Err()
	}
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.fail || slices.ContainsFunc(c.JournalOpen, func(e flex.JournalEntry) bool { return e.Device == j.bad }) {
		return errors.New("no space left on device")
	}
	j.commits++
	for _, e := range c.JournalOpen {
		j.entries[e.Device] = e
	}
	for _, id := range c.JournalClose {
		delete(j.entries, id)
	}
	return nil
}

func (j *journal) Journal(context.Context) ([]flex.JournalEntry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.blind {
		return nil, errors.New("input/output error")
	}
	return slices.Collect(maps.Values(j.entries)), nil
}

func (j *journal) set(fn func(*journal)) { j.mu.Lock(); defer j.mu.Unlock(); fn(j) }

func (j *journal) entry(id flex.DeviceID) flex.JournalEntry {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.entries[id]
}

func (j *journal) open(id flex.DeviceID) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, ok := j.entries[id]
	return ok && e.Released.At.IsZero()
}

// alarms remembers what is raised.
type alarms struct {
	mu sync.Mutex
	on map[string]bool
	at map[string]bool // ever
}

func (a *alarms) Raise(code, subject, _ string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on[code+" "+subject], a.at[code+" "+subject] = true, true
}
func (a *alarms) Clear(code, subject string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.on, code+" "+subject)
}
func (a *alarms) is(what string) bool   { a.mu.Lock(); defer a.mu.Unlock(); return a.on[what] }
func (a *alarms) ever(what string) bool { a.mu.Lock(); defer a.mu.Unlock(); return a.at[what] }

// rig is one controller with its surroundings.
type rig struct {
	t       *testing.T
	c       *Controller
	board   *board
	journal *journal
	alarms  *alarms
	cancel  context.CancelFunc
	done    chan error
}

// newRig builds a controller over devices, asset aN for device N; with keep,
// the disk of an earlier life.
func newRig(t *testing.T, keep *journal, observe bool, devices ...*device) *rig {
	r := &rig{t: t, board: &board{}, journal: keep, alarms: &alarms{on: map[string]bool{}, at: map[string]bool{}}}
	if keep == nil {
		r.journal = &journal{entries: map[flex.DeviceID]flex.JournalEntry{}}
	}
	cfg := Config{Decide: allocate.Decide, Board: r.board, Journal: r.journal, Health: r.alarms, Log: slog.New(slog.DiscardHandler),
		Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: flex.ClockSynced} }}
	for _, d := range devices {
		mode := allocate.Setpoint
		if observe {
			mode = allocate.Observe
		}
		cfg.Devices = append(cfg.Devices, d)
		role := d.role
		if role == "" {
			role = flex.RoleStorage
		}
		cfg.Settings = append(cfg.Settings, DeviceSettings{ID: d.id, Role: role, GridCharge: true})
		cfg.Assets = append(cfg.Assets, allocate.Asset{ID: asset(d), Devices: []flex.DeviceID{d.id}, Control: mode})
		d.audit = func(bool) {
			if !r.journal.open(d.id) {
				t.Errorf("%s was written without an open journal entry", d.id)
			}
		}
	}
	r.c = New(cfg)
	return r
}

func asset(d *device) flex.AssetID { return flex.AssetID("asset-" + d.id) }

func (r *rig) start() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.done = cancel, make(chan error, 1)
	go func() { r.done <- r.c.Run(ctx) }()
	<-r.c.Ready()
}

// kill ends the process: nothing is handed back.
func (r *rig) kill() {
	r.stop()
	r.c.end() // the disk sees nothing more of a dead process
	r.c.books.Wait()
}

// stop ends Run.
func (r *rig) stop() {
	r.cancel()
	if err := <-r.done; err != nil {
		r.t.Error(err)
	}
}

// wants is a dispatch of p watts on a device.
func wants(id string, d *device, p flex.Watts, from, to time.Time) flex.Dispatch {
	return flex.Dispatch{ID: flex.InstructionID(id), Shares: []flex.AssetShare{{Asset: asset(d), Power: p}}, Window: flex.Window{Start: from, End: to}}
}
