package regmap

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
	"flexd/drivers/sunspec"
)

// Config is one device.
type Config struct {
	ID       flex.DeviceID
	Endpoint string // host:port, for the journal
	Unit     uint8
	Role     flex.Role // the map's when empty
	// GridCharge is the owner's consent to charge the battery from the grid.
	GridCharge bool
	Sign       string // of a meter: what its positive number means; "" where the map is no meter's
	Map        *Map
	Bus        Bus
	Log        *slog.Logger
}

// Device is one device behind a map. Its methods may be called from several
// goroutines; requests are ordered by the bus.
type Device struct {
	cfg Config
	m   *Map

	mu    sync.Mutex
	found *found // nil until opened
	last  image  // latest of every point that was read
	told  *told  // what we last wrote; nil when nothing of ours stands in the device
	freed bool   // nothing was written since the last release
	// base is what the last snapshot found, by point.
	base    map[string][]uint16
	harvest harvest
	sample  sample

	opening chan struct{} // held by who identifies the device: on a slow line twice costs seconds
	stops   atomic.Int64  // counts releases; an order that began before one writes no more
}

// told is what we last told the device.
type told struct {
	method string
	target flex.Target
	words  map[string][][]uint16 // by point: what of ours may stand there; one once proven
}

// found is what Open established.
type found struct {
	models map[int]uint16    // SunSpec model to address
	absent map[string]bool   // optional points that the device lacks
	chosen map[string]string // which of several a point is
	low    bool              // the low register comes first
	serial string
	plate  flex.Nameplate
}

// New prepares a device; nothing is sent before Open.
func New(cfg Config) (*Device, error) {
	if cfg.Bus == nil || cfg.Map == nil {
		return nil, fmt.Errorf("device %s: a bus and a map are needed", cfg.ID)
	}
	if cfg.Role != "" && !slices.Contains(cfg.Map.Role, role(cfg.Role)) {
		return nil, fmt.Errorf("device %s: role %q: map %s is for %s", cfg.ID, cfg.Role, cfg.Map.Name, cfg.Map.Role)
	}
	if meter := cfg.Map.Role[0] == role(flex.RoleMeter); meter != (cfg.Sign != "") {
		return nil, fmt.Errorf("device %s: sign %q: a meter needs %s or %s, other devices none", cfg.ID, cfg.Sign, sunspec.ExportPositive, sunspec.ImportPositive)
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Device{cfg: cfg, m: cfg.Map, opening: make(chan struct{}, 1)}, nil
}

// ID is the device's name in the site's configuration.
func (d *Device) ID() flex.DeviceID { return d.cfg.ID }

// Endpoint is the device's host:port.
func (d *Device) Endpoint() string { return d.cfg.Endpoint }

// Unit is the device's Modbus unit id.
func (d *Device) Unit() uint8 { return d.cfg.Unit }

// place is where a point lies on this device.
func (d *Device) place(name string) place {
	p := d.m.Points[name]
	at := place{unit: d.cfg.Unit, fn: byte(p.Func), addr: uint16(p.At.wire)}
	if p.UnitID > 0 {
		at.unit = byte(p.UnitID)
	}
	if p.At.model > 0 {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.found != nil {
			at.addr = d.found.models[p.At.model] + uint16(p.At.wire)
		}
	}
	return at
}

// has tells whether the device has the point: one in a SunSpec model that is
// not in its chain it has not, nor one that it refused to tell.
func (d *Device) has(name string) bool {
	if name = d.real(name); name == "" {
		return false
	}
	p := d.m.Points[name]
	d.mu.Lock()
	defer d.mu.Unlock()
	if p.Optional && d.found != nil && d.found.absent[name] {
		return false
	}
	if p.At.model == 0 {
		return true
	}
	if d.found == nil {
		return false
	}
	_, ok := d.found.models[p.At.model]
	return ok
}

// Open identifies the device. It may be called again, after a failure or to
// look again.
func (d *Device) Open(ctx context.Context) (flex.Nameplate, error) {
	end, waited, err := d.alone(ctx)
	if err != nil {
		return flex.Nameplate{}, err
	}
	defer end()
	f := d.known()
	if f == nil || !waited {
		f, err = d.open(ctx, modbus.Read)
	}
	if err != nil {
		return flex.Nameplate{}, err
	}
	return f.plate, nil
}

// alone waits until nobody else identifies the device; waited tells that
// somebody has just done so.
func (d *Device) alone(ctx context.Context) (end func(), waited bool, err error) {
	end = func() { <-d.opening }
	select {
	case d.opening <- struct{}{}:
		return end, false, nil
	default:
	}
	select {
	case d.opening <- struct{}{}:
		return end, true, nil
	case <-ctx.Done():
		return nil, true, fmt.Errorf("device %s: %w: %w", d.cfg.ID, flex.ErrNotSent, context.Cause(ctx))
	}
}

func (d *Device) open(ctx context.Context, p modbus.Priority) (*found, error) {
	f := &found{absent: map[string]bool{}}
	if d.sunspec() {
		chain, err := sunspec.Walk(ctx, d.cfg.Bus, d.cfg.Unit)
		if err != nil {
			return nil, fmt.Errorf("device %s: %w", d.cfg.ID, err)
		}
		f.models = map[int]uint16{}
		for _, m := range chain.Models {
			if _, twice := f.models[int(m.ID)]; !twice {
				f.models[int(m.ID)] = m.Addr
			}
		}
	}
	d.mu.Lock()
	was := d.found
	d.found = f
	d.mu.Unlock()
	err := d.look(ctx, p, f)
	var im image
	if err == nil {
		im, err = d.read(ctx, p, d.identifying())
	}
	if err == nil {
		err = d.identity(im)
	}
	if err != nil {
		d.mu.Lock()
		d.found = was
		if errors.Is(err, errWrong) {
			d.found = nil
		}
		d.mu.Unlock()
		return nil, err
	}
	d.plate(f, im)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = d.last.merge(im)
	d.cfg.Log.Info("mapped device found", "device", d.cfg.ID, "map", d.m.Name, "model", f.plate.Model, "serial", f.serial)
	return f, nil
}

func (d *Device) sunspec() bool {
	for _, p := range d.m.Points {
		if p.At.model > 0 {
			return true
		}
	}
	return false
}

// identifying are the points that say whose device it is and what it can do.
func (d *Device) identifying() []string {
	var out []string
	for _, k := range d.m.Identity {
		out = append(out, k.Point)
	}
	if d.m.Firmware != nil {
		out = append(out, d.m.Firmware.Point)
	}
	ms, r := d.m.Measure, d.m.Rating
	out = append(out, ms.Serial, ms.Model, ms.Version)
	for _, list := range []operands{r.Power, r.Charge, r.Discharge, r.Energy} {
		out = append(out, d.reals(list.points())...)
	}
	for _, me := range d.m.Control {
		for _, list := range []operands{me.Max.Charge, me.Max.Discharge, me.Max.Power} {
			out = append(out, d.reals(list.points())...)
		}
	}
	return slices.DeleteFunc(out, func(s string) bool { return s == "" })
}

// plate fills the nameplate.
func (d *Device) plate(f *found, im image) {
	if p := d.m.Points[d.m.Measure.Serial]; p != nil && p.Type == Str {
		f.serial = text(im.words[d.m.Measure.Serial])
	}
	if f.serial == "" && d.m.Measure.Serial != "" {
		f.serial = strings.TrimPrefix(d.shown(im, d.m.Measure.Serial), "not there")
	}
	watts := func(list operands) flex.Watts {
		v, ok := d.total(im, list)
		if !ok || v < 0 || v > float64(flex.MaxPower) {
			return 0
		}
		return flex.Watts(math.Round(v))
	}
	p := flex.Nameplate{Manufacturer: d.m.Vendor, Model: text(im.words[d.m.Measure.Model]), Firmware: text(im.words[d.m.Measure.Version]),
		Serial: f.serial, Role: d.role(), MaxPower: watts(d.m.Rating.Power), MaxCharge: watts(d.m.Rating.Charge), MaxDischarge: watts(d.m.Rating.Discharge),
		Energy: flex.WattHours(watts(d.m.Rating.Energy)), Can: []flex.Capability{flex.CanMeasure}}
	if p.Model == "" {
		p.Model = strings.TrimPrefix(d.m.Title, d.m.Vendor+" ")
	}
	if len(d.m.Measure.SoC) > 0 {
		p.Can = append(p.Can, flex.CanSoC)
	}
	for _, name := range slices.Sorted(maps.Keys(d.m.Control)) {
		me := d.m.Control[name]
		p.Can = append(p.Can, flex.Capability(name))
		p.Method = strings.TrimPrefix(p.Method+" + map "+d.m.Name+" "+name, " + ")
		p.Revert = me.Fallback.After.timed()
		if every := me.refreshOf(); p.Refresh == 0 || every < p.Refresh {
			p.Refresh = every
		}
		p.MaxCharge, p.MaxDischarge = d.within(im, p.MaxCharge, me.Max.Charge), d.within(im, p.MaxDischarge, me.Max.Discharge)
		p.Settle = max(p.Settle, me.settles(max(p.MaxCharge, p.MaxDischarge)))
		p.Follow = p.Follow || d.follows(me) && me.Harvest == nil // which minds being told all the time
		p.Step = max(p.Step, d.step(im, me))
		p.Detail = append(p.Detail, fmt.Sprintf("%s: falls back %s to %s; written again every %v", name, fallsBack(me), me.Fallback.To, me.refreshOf()))
		if len(me.Fallback.Keeps) > 0 {
			p.Detail = append(p.Detail, fmt.Sprintf("%s: %s stay as they were told until the device is handed back", name, strings.Join(me.Fallback.Keeps, ", ")))
		}
		if me.Fallback.Doubt != "" {
			p.Detail = append(p.Detail, name+": whether it falls back is doubtful: "+me.Fallback.Doubt)
		}
	}
	if me := d.m.Control["set"]; p.Method != "" && (me == nil || me.Harvest == nil) { // which is left to itself at 0 W
		p.Can = append(p.Can, flex.CanIdle)
	}
	p.NoGridCharge = d.unpermitted()
	p.Tolls, p.HandBack = d.tolls(), d.handBack()
	p.Detail = append(p.Detail, "map "+d.m.Name+" is "+string(d.m.Status))
	d.mu.Lock()
	defer d.mu.Unlock()
	f.plate = p
}

// follows tells whether a setpoint rests on something that moves by itself.
func (d *Device) follows(me *Method) bool {
	return me.Of == ofGrid || me.Of == ofBattery && d.role() == flex.RoleHybrid || me.Of == ofInverter && d.role() == flex.RoleStorage
}

// within bounds a rating by what else limits it; what is not known bounds
// nothing.
func (d *Device) within(im image, rating flex.Watts, limits operands) flex.Watts {
	most, ok := d.least(im, limits)
	switch {
	case !ok, most > float64(flex.MaxPower):
		return rating
	case rating == 0:
		return flex.Watts(most)
	}
	return min(rating, flex.Watts(most))
}

func fallsBack(me *Method) string {
	if me.Fallback.After.timed() {
		return "after " + me.Fallback.After.d.String()
	}
	return me.Fallback.After.word
}

// step is the coarsest change of power that a method can make.
func (d *Device) step(im image, me *Method) flex.Watts {
	var most float64
	for _, s := range me.Write {
		for i, name := range s.Points {
			lsb, ok := d.lsb(im, d.m.Points[name])
			switch s.Values[i].word {
			case wordPower, wordInverse, wordCharge, wordDischarge, wordMagnitude:
				if ok && d.m.Points[name].Type != F32 {
					most = max(most, math.Abs(lsb))
				}
			case wordPercent:
				if v, known := d.total(im, d.m.Rating.Power); ok && known {
					most = max(most, v*math.Abs(lsb)/100)
				}
			}
		}
	}
	return flex.Watts(math.Ceil(most))
}

// resolve is the value of a number or a point.
func (d *Device) resolve(im image, o operand) (float64, bool) {
	if o.point != "" {
		return d.value(im, d.real(o.point))
	}
	return o.num, o.set
}

// known is what was found, once that is complete.
func (d *Device) known() *found {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.found == nil || d.found.plate.Role == "" {
		return nil
	}
	return d.found
}

// ready gives what was found, and finds it where that has not happened yet.
func (d *Device) ready(ctx context.Context, p modbus.Priority) (*found, error) {
	if f := d.known(); f != nil {
		return f, nil
	}
	end, _, err := d.alone(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if f := d.known(); f != nil {
		return f, nil
	}
	return d.open(ctx, p)
}

// fetch reads points and remembers them.
func (d *Device) fetch(ctx context.Context, p modbus.Priority, names []string) (image, error) {
	im, err := d.read(ctx, p, names)
	if err != nil {
		return im, err
	}
	d.noteSample(im)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.last = d.last.merge(im)
	return d.last, nil
}
