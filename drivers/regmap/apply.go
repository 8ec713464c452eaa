package regmap

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/modbus"
)

const (
	// imageAge is how old an image may be for a write to rest on it, beyond the
	// pauses that the device wants while it is read.
	imageAge = 3 * time.Second
	// attempts is how often a sequence is written when reading back resolved
	// an uncertain write as missing. Only absolute values are ever written.
	attempts = 2
	// remembered is how many unproven values of a point are kept as ours.
	remembered = 8
)

// Snapshot records what is there before our first write.
func (d *Device) Snapshot(ctx context.Context) (flex.Snapshot, error) {
	f, err := d.ready(ctx, modbus.Write)
	if err != nil {
		return flex.Snapshot{}, err
	}
	im, err := d.fetch(ctx, modbus.Write, d.controls())
	if err != nil {
		return flex.Snapshot{}, err
	}
	s := flex.Snapshot{Device: d.cfg.ID, At: im.at, Endpoint: d.cfg.Endpoint, Unit: d.cfg.Unit, Serial: f.serial, Map: "map " + d.m.Name,
		Registers: d.registers(im, d.restored()), Foreign: d.barred(im)}
	for _, me := range d.m.Control {
		s.Controlled = s.Controlled || d.all(im, me.Active)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.told, d.base = nil, byName(s.Registers)
	return s, nil
}

// barred tells why the device must not be controlled: a precondition is not
// met, or somebody else's limit is in force.
func (d *Device) barred(im image) *flex.Refusal {
	for _, k := range d.m.Need {
		ok, unread := d.holds(im, k)
		if unread && len(im.words[k.Point]) == 0 {
			return flex.Refuse(flex.ReasonDeviceUnavailable, "%s: %s cannot be read, and control rests on it: %s", d.cfg.ID, k.Point, k.Hint)
		}
		if !ok {
			return flex.Refuse(flex.ReasonDeviceUnavailable, "%s: %s is %s: %s", d.cfg.ID, k.Point, d.shown(im, k.Point), k.Hint)
		}
	}
	if limit := d.m.Control["cap"]; limit != nil && d.m.Control["set"] == nil && d.all(im, limit.Active) {
		return flex.Refuse(flex.ReasonLimitSetByOthers, "%s: a power limit is in force by others", d.cfg.ID)
	}
	return nil
}

// controls are all points that control rests on.
func (d *Device) controls() []string {
	out := append(d.measured(), d.writable()...)
	for _, k := range d.m.Need {
		out = append(out, k.Point)
	}
	for _, me := range d.m.Control {
		for _, list := range []operands{me.Max.Charge, me.Max.Discharge, me.Max.Power} {
			out = append(out, d.reals(list.points())...)
		}
		for _, bar := range me.Unless {
			for _, k := range bar.If {
				out = append(out, k.Point)
			}
		}
		for _, s := range me.sequences() {
			for _, k := range s.If {
				out = append(out, k.Point)
			}
		}
	}
	for _, list := range []operands{d.m.Rating.Power, d.m.Rating.Charge, d.m.Rating.Discharge} {
		out = append(out, d.reals(list.points())...)
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" })
}

// handles are the points that a release rests on. What is measured is not
// among them: a line that is slow carries a stop the sooner.
func (d *Device) handles() []string {
	out := d.writable()
	for _, me := range d.m.Control {
		for _, k := range me.Active {
			out = append(out, k.Point)
		}
		for _, s := range slices.Concat(me.Release, me.Boot) {
			for _, o := range s.Values {
				out = append(out, o.point)
			}
			for _, k := range s.If {
				out = append(out, k.Point)
			}
		}
	}
	slices.Sort(out)
	return slices.DeleteFunc(slices.Compact(out), func(s string) bool { return s == "" })
}

// writable are the points that the sequences write, sorted.
func (d *Device) writable() []string {
	set := map[string]bool{}
	for _, me := range d.m.Control {
		for _, s := range me.sequences() {
			for _, n := range s.Points {
				set[n] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// restored are those of the writable points that can be put back as they were
// found: what the device changes by itself cannot.
func (d *Device) restored() []string {
	return slices.DeleteFunc(d.writable(), func(n string) bool { return d.m.Points[n].Moves })
}

// registers renders points for the journal.
func (d *Device) registers(im image, names []string) []flex.Register {
	var out []flex.Register
	for _, n := range names {
		if words := im.words[n]; len(words) > 0 {
			out = append(out, flex.Register{Addr: d.place(n).addr, Words: slices.Clone(words), Name: n})
		}
	}
	return out
}

// Apply writes the target and reads it back. Applying the same target again
// rewrites all that re-arms the device's timer.
func (d *Device) Apply(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	turn := d.stops.Load()
	if _, _, err := d.method(t.Order); err != nil {
		return rec, err
	}
	if _, err := d.ready(ctx, modbus.Write); err != nil {
		return rec, err
	}
	im, err := d.current(ctx)
	if err != nil {
		return rec, err
	}
	if why := d.barred(im); why != nil && (why.Reason != flex.ReasonLimitSetByOthers || !d.toldAny()) {
		return rec, fmt.Errorf("device %s: %w", d.cfg.ID, why)
	}
	var unsure error
	var p plan
	for range attempts {
		if p, err = d.plan(t, im); err != nil {
			return rec, err
		}
		rec.Effective = p.effective
		werr := d.writeAll(ctx, modbus.Write, turn, &rec, im, p.requests, true)
		if werr != nil && (!errors.Is(werr, flex.ErrUncertain) || errors.Is(werr, modbus.ErrOvertaken)) {
			return rec, fmt.Errorf("device %s: %w", d.cfg.ID, werr)
		}
		back, err := d.fetch(ctx, modbus.Write, d.back(p.requests))
		if err != nil {
			return rec, fmt.Errorf("device %s: cannot tell what stands in the device: %w: %w", d.cfg.ID, flex.ErrUncertain, errors.Join(werr, err))
		}
		d.judge(&rec, p.requests, back)
		rec.Holds = d.registers(back, d.ours(p.requests))
		im = back
		if rec.Echo && (werr == nil || len(rec.Problems) == 0 && !blind(p.requests)) {
			d.proven(t, p)
			return rec, nil
		}
		if werr == nil {
			break // acknowledged and yet not there: writing it again proves nothing new
		}
		unsure = werr
	}
	return rec, d.unheard(&rec, p.requests, unsure)
}

// blind tells whether some of the requests cannot be read back: that they were
// acknowledged is the only proof there is.
func blind(rs []request) bool {
	return slices.ContainsFunc(rs, func(r request) bool { return !r.echo })
}

// unheard is the error after the last attempt was not acknowledged and cannot
// be read back either.
func (d *Device) unheard(rec *flex.Receipt, rs []request, unsure error) error {
	if unsure == nil || !blind(rs) {
		return nil
	}
	rec.Echo = false
	return fmt.Errorf("device %s: %w", d.cfg.ID, unsure)
}

// current gives an image recent enough to write upon.
func (d *Device) current(ctx context.Context) (image, error) {
	names := d.controls()
	d.mu.Lock()
	im := d.last
	d.mu.Unlock()
	whole := !slices.ContainsFunc(names, func(n string) bool { return d.m.Points[n].readable() && d.has(n) && im.words[n] == nil })
	pauses := time.Duration(len(d.runs(d.withScales(names)))) * time.Duration(d.m.Line.Gap)
	if age := time.Since(im.at); whole && age >= 0 && age <= imageAge+pauses {
		return im, nil
	}
	return d.fetch(ctx, modbus.Write, names)
}

// back are the points to read after writing.
func (d *Device) back(rs []request) []string {
	out := d.ours(rs)
	for _, me := range d.m.Control {
		for _, k := range me.Active {
			out = append(out, k.Point)
		}
	}
	return out
}

// ours are the points of the requests, sorted.
func (d *Device) ours(rs []request) []string {
	set := map[string]bool{}
	for _, r := range rs {
		for _, n := range r.names {
			set[n] = true
		}
	}
	return slices.Sorted(maps.Keys(set))
}

// writeAll sends the requests in order, and stops at the first that was not
// acknowledged or when a release has begun since turn. What lasts and stands
// already is left alone.
func (d *Device) writeAll(ctx context.Context, p modbus.Priority, turn int64, rec *flex.Receipt, im image, rs []request, setting bool) error {
	im = im.merge(image{at: im.at}) // what is written stands from then on
	for _, r := range rs {
		if r.lasting && d.stands(im, r) {
			continue
		}
		r = d.trimmed(im, r)
		if d.stops.Load() != turn {
			return fmt.Errorf("%s: %w: a release came first", strings.Join(r.names, ", "), flex.ErrNotSent)
		}
		if setting {
			d.remember(r)
		}
		err := d.send(ctx, p, rec, im, r)
		if r.optional && refused(err) {
			d.cfg.Log.Info("the device refused a step that may be refused", "device", d.cfg.ID, "points", r.names, "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
		for i, n := range r.names {
			im.words[n] = r.words[i]
		}
		if err := pause(ctx, r.wait); err != nil {
			return err
		}
	}
	return nil
}

// refused tells a device's own refusal from a failure on the way.
func refused(err error) bool {
	var e *modbus.Exception
	return errors.As(err, &e) && !errors.Is(err, flex.ErrUncertain)
}

// pause waits where a device needs time between two steps.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", flex.ErrUncertain, ctx.Err())
	}
}

// stands tells whether a request's values are there already. What moves by
// itself never stands.
func (d *Device) stands(im image, r request) bool {
	for i, n := range r.names {
		if !d.m.Points[n].readable() || d.m.Points[n].Moves || !slices.Equal(im.words[n], r.words[i]) {
			return false
		}
	}
	return true
}

// send writes one request and sorts the outcome: refused by the device, not
// sent, or uncertain. Whatever is not known is uncertain.
func (d *Device) send(ctx context.Context, p modbus.Priority, rec *flex.Receipt, im image, r request) error {
	at := d.place(r.names[0])
	var words []uint16
	for _, w := range r.words {
		words = append(words, w...)
	}
	begun := time.Now()
	res, err := d.cfg.Bus.Do(ctx, modbus.Request{Unit: at.unit, Func: byte(d.m.Line.Write), Addr: at.addr, Values: words, Priority: p})
	what := strings.Join(r.names, ", ")
	var exception *modbus.Exception
	switch {
	case err == nil:
	case errors.Is(err, modbus.ErrNotSent):
		return fmt.Errorf("cannot write %s: %w: %w", what, flex.ErrNotSent, err)
	case errors.As(err, &exception) && !errors.Is(err, modbus.ErrUncertain):
		return fmt.Errorf("cannot write %s: %w", what, err)
	default:
		err = fmt.Errorf("cannot write %s: %w: %w", what, flex.ErrUncertain, err)
	}
	sent := res.Sent
	if sent.IsZero() {
		sent = begun
	}
	if rec.Sent.IsZero() {
		rec.Sent = sent
	}
	rec.Wrote = append(rec.Wrote, d.written(im, r)...)
	return err
}

// judge compares what stands in the device with what was written last.
func (d *Device) judge(rec *flex.Receipt, rs []request, im image) {
	rec.At, rec.Echo, rec.Problems = im.at, true, nil
	last := lastOf(rs)
	for k, r := range rs {
		if !r.echo {
			continue
		}
		for i, n := range r.names {
			if last[n] != k || d.m.Points[n].Moves {
				continue
			}
			if got := im.words[n]; !slices.Equal(got, r.words[i]) {
				rec.Echo = rec.Echo && r.optional
				rec.Problems = append(rec.Problems, flex.Problem{Field: n, Want: fmt.Sprint(r.words[i]), Got: d.shown(im, n)})
			}
		}
	}
}

// lastOf tells which of the requests writes a point last.
func lastOf(rs []request) map[string]int {
	last := map[string]int{}
	for k, r := range rs {
		for _, n := range r.names {
			last[n] = k
		}
	}
	return last
}

// remember notes, before it is sent, that a value may stand in the device.
func (d *Device) remember(r request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.freed = false
	if d.told == nil {
		d.told = &told{words: map[string][][]uint16{}}
	}
	for i, n := range r.names {
		list := append(d.told.words[n], r.words[i])
		d.told.words[n] = list[max(0, len(list)-remembered):]
	}
}

// proven remembers the values that now stand in the device.
func (d *Device) proven(t flex.Target, p plan) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told == nil {
		d.told = &told{words: map[string][][]uint16{}}
	}
	if d.told.target.Order != t.Order || d.told.target.Power != t.Power {
		d.sample.changed = time.Now()
	}
	d.told.method, d.told.target = p.method, t
	for _, r := range p.requests {
		for i, n := range r.names {
			d.told.words[n] = [][]uint16{r.words[i]}
		}
	}
}

func (d *Device) toldAny() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.told != nil
}

// Verify compares what stands in the device with a target. It writes nothing.
func (d *Device) Verify(ctx context.Context, t flex.Target) (flex.Receipt, error) {
	rec := flex.Receipt{Device: d.cfg.ID}
	if _, err := d.ready(ctx, modbus.Read); err != nil {
		return rec, err
	}
	im, err := d.fetch(ctx, modbus.Read, d.controls())
	if err != nil {
		return rec, err
	}
	p, err := d.plan(t, im)
	if err != nil {
		return rec, err
	}
	rec.Effective = p.effective
	if d.follows(d.m.Control[p.method]) { // what follows something else is told from others' by what was proven
		d.lastTold(t, p.requests)
	}
	d.judge(&rec, p.requests, im)
	return rec, nil
}

// lastTold puts the values that were last proven for this target in the place
// of those that would be told now.
func (d *Device) lastTold(t flex.Target, rs []request) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.told == nil || d.told.target.Order != t.Order || d.told.target.Power != t.Power {
		return
	}
	for _, r := range rs {
		for i, n := range r.names {
			if len(d.told.words[n]) == 1 {
				r.words[i] = d.told.words[n][0]
			}
		}
	}
}
