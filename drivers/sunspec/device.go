package sunspec

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

// Signs of a meter's power register; the models state none.
const (
	ExportPositive = "export_positive"
	ImportPositive = "import_positive"
)

// Config is one device.
type Config struct {
	ID         flex.DeviceID
	Endpoint   string // host:port, for journals and people
	Unit       uint8
	Role       flex.Role // empty: by the device's own account
	Sign       string    // of a meter: ExportPositive or ImportPositive
	GridCharge bool      // consent to let the battery charge from the grid
	AdoptLimit bool      // control beneath a limit that others have set
	// MaxCharge is the power that 100 % of a rate of model 124 stands for,
	// where the device's own WChaMax is not it; 0: WChaMax.
	MaxCharge flex.Watts
	// WriteBudget is how often a day a register that wears out may be written;
	// 0: 100.
	WriteBudget int
	Bus         Bus
	Log         *slog.Logger
}

// Device is one SunSpec device. Its methods may be called from several
// goroutines; requests are ordered by the bus.
type Device struct {
	cfg  Config
	wire wire

	search search

	mu    sync.Mutex
	found *found // nil until opened
	// last is the latest image of the control models and of what they refer to.
	last  image
	epoch int64 // counts read-backs
	// sampled is the latest whole image of a device that was proven to be the
	// same; wrote is when we last began to write.
	sampled image
	wrote   time.Time
	// seen is when the serial number was last read.
	seen time.Time
	// told is what we last wrote; nil when nothing of ours stands in the device.
	told *told
	// before is the image found before our first write.
	before *image
	// flow is what is known of a hybrid's power flows.
	flow flow
	// noForced: negative rates were found not to work.
	noForced bool
	cut      cut // of runs, as far as the device takes them
	// beat is the last heartbeat of ours; mute: the device refuses to have it
	// written.
	beat *int64
	mute bool
	// thrift counts writes that wear out memory.
	thrift thrift

	stops atomic.Int64 // counts releases; an order that began before one writes no more
}

// told is what we last told the device.
type told struct {
	at     time.Time // of the last change
	method method
	values []setting  // of ours that may stand in the device; one once proven
	aim    flex.Watts // the AC power that they stand for
	target flex.Watts // that was asked for
}

// setting is the raw value of a setpoint or cap. The rates of a battery that
// is told no one power are two: at least low, at most high.
type setting struct{ low, high int64 }

// forced tells whether it takes a negative rate of model 124.
func (s setting) forced() bool { return s.low > 0 || s.high < 0 }

// found is what discovery established. It does not change.
type found struct {
	chain   Chain
	role    flex.Role
	watched []Model // read for a reading
	common  Model
	serial  string
	plate   flex.Nameplate
	set     method
	cap     method
	base    flex.Watts // what 100 % of a rate of model 124 stands for; 0: WChaMax
}

// rateBase is what 100 % of a rate of model 124 stands for, W.
func (f *found) rateBase(im image) (float64, bool) {
	if f.base > 0 {
		return float64(f.base), true
	}
	v, ok := im.of(124).num("WChaMax")
	return v, ok && v > 0
}

// New prepares a device; nothing is sent before Open.
func New(cfg Config) (*Device, error) {
	if cfg.Bus == nil {
		return nil, fmt.Errorf("device %s: a bus is needed", cfg.ID)
	}
	if cfg.MaxCharge < 0 || cfg.MaxCharge > flex.MaxPower {
		return nil, fmt.Errorf("device %s: %v as what 100 %% of a rate stands for: give a magnitude", cfg.ID, cfg.MaxCharge)
	}
	switch cfg.Role {
	case "", flex.RoleStorage, flex.RolePV, flex.RoleHybrid, flex.RoleMeter:
	default:
		return nil, fmt.Errorf("device %s: role %q: use storage, pv, hybrid or meter", cfg.ID, cfg.Role)
	}
	if cfg.Sign != "" && cfg.Sign != ExportPositive && cfg.Sign != ImportPositive {
		return nil, fmt.Errorf("device %s: sign %q: use %s or %s", cfg.ID, cfg.Sign, ExportPositive, ImportPositive)
	}
	if cfg.Role == flex.RoleMeter && cfg.Sign == "" {
		return nil, fmt.Errorf("device %s: a meter needs a sign (%s or %s): the SunSpec models state none", cfg.ID, ExportPositive, ImportPositive)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Device{cfg: cfg, wire: wire{bus: cfg.Bus, unit: cfg.Unit}, search: search{turn: make(chan struct{}, 1)}}, nil
}

// ID is the device's name in the site's configuration.
func (d *Device) ID() flex.DeviceID { return d.cfg.ID }

// Endpoint is the device's host:port.
func (d *Device) Endpoint() string { return d.cfg.Endpoint }

// Unit is the device's Modbus unit id.
func (d *Device) Unit() uint8 { return d.cfg.Unit }

// Open finds the map and identifies the device. It may be called again, after
// a failure or to look again; what a release or a write has found a moment ago
// is not looked for once more.
func (d *Device) Open(ctx context.Context) (flex.Nameplate, error) {
	end, err := d.search.begin(ctx)
	if err != nil {
		return flex.Nameplate{}, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	defer end()
	f := d.known()
	if f == nil || !d.search.just() {
		if f, err = d.open(ctx, modbus.Read); err != nil {
			return flex.Nameplate{}, err
		}
	}
	d.search.given = true
	return f.plate, nil
}

// open finds the device, where an earlier process found it or by its chain. The
// caller has the turn of the search.
func (d *Device) open(ctx context.Context, p modbus.Priority) (*found, error) {
	f, err := d.findAgain(ctx, p)
	if f != nil || err != nil {
		return f, err
	}
	chain, err := walk(ctx, func(ctx context.Context, addr, count uint16) ([]uint16, error) {
		words, _, err := d.wire.read(ctx, p, addr, count)
		return words, err
	})
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	return d.identifyAt(ctx, p, chain)
}

// identifyAt tells what the chain belongs to.
func (d *Device) identifyAt(ctx context.Context, p modbus.Priority, chain Chain) (*found, error) {
	im, err := d.wire.fetch(ctx, p, chain.telling(d.cfg.Role))
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	f, err := identify(d.cfg, chain, im)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	var seen time.Time
	if f.common.ID == 1 { // not always the first in the chain
		common, err := d.wire.fetch(ctx, p, []Model{f.common})
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
		f.name(common.of(1))
		seen = common.at
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.found, d.last, d.sampled, d.seen = f, im, image{}, seen
	d.search.at, d.search.given = time.Now(), false
	d.cfg.Log.Info("sunspec device found", "device", d.cfg.ID, "model", f.plate.Model, "serial", f.serial, "chain", chain.String(), "method", f.plate.Method)
	return f, nil
}

// first lists the first instance of each of the ids, in the order of the chain.
func (c Chain) first(ids ...uint16) []Model {
	var out []Model
	for _, m := range c.Models {
		if m.Instance == 1 && slices.Contains(ids, m.ID) {
			out = append(out, m)
		}
	}
	return out
}

// ready gives what was found, and finds it where that has not happened yet.
func (d *Device) ready(ctx context.Context, p modbus.Priority) (*found, error) {
	if f := d.known(); f != nil {
		return f, nil
	}
	end, err := d.search.begin(ctx)
	if err != nil {
		return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	defer end()
	if f := d.known(); f != nil {
		return f, nil
	}
	return d.open(ctx, p)
}

func (d *Device) known() *found {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.found
}

// fetch reads the models a decision rests on and remembers them.
func (d *Device) fetch(ctx context.Context, p modbus.Priority, f *found) (image, error) {
	d.mu.Lock()
	epoch := d.epoch
	d.mu.Unlock()
	im, err := d.wire.fetch(ctx, p, f.watched)
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, ErrMoved) {
		d.found, d.last, d.sampled = nil, image{}, image{}
	}
	if err != nil {
		return im, fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	if d.epoch == epoch {
		d.last = im // else the controls were read back meanwhile, and are newer there
	}
	return im, nil
}

// identityAge is how long a serial number that was read is believed.
const identityAge = time.Minute

// same insists that the device still is the one that was opened; the serial
// number is read again when it was last read more than identityAge before now.
func (d *Device) same(ctx context.Context, p modbus.Priority, f *found, now time.Time) error {
	d.mu.Lock()
	fresh := now.Sub(d.seen) <= identityAge
	d.mu.Unlock()
	if fresh || f.common.ID != 1 {
		return nil
	}
	im, err := d.wire.fetch(ctx, p, []Model{f.common})
	if err == nil {
		if sn := im.of(1).text("SN"); sn != f.serial {
			err = fmt.Errorf("%w: serial number %q, was %q", ErrMoved, sn, f.serial)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if errors.Is(err, ErrMoved) {
			d.found, d.last, d.sampled, d.told, d.before, d.flow = nil, image{}, image{}, nil, nil, flow{}
		}
		return fmt.Errorf("device %s: %w", d.cfg.ID, err)
	}
	d.seen = im.at
	return nil
}
