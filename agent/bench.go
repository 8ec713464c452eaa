package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock"
	"flexd/agent/commission"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/drivers"
)

// nearDispatch is how long before a dispatch a device is left alone by hand:
// a commissioning with all its steps lasts about five minutes.
const nearDispatch = 10 * time.Minute

// judgeEvery is how often the records are compared with the devices that
// answer: a replaced inverter is another device.
const judgeEvery = time.Second

// bench is what people at the site do with devices by hand: it joins the
// commissioning with control, which stays the only one that commands.
type bench struct {
	required bool
	override *commission.Override
	shelf    *commission.Shelf
	desk     *commission.Desk
	writes   *commission.Writes
	control  *control.Controller
	board    *dispatch.Board
	health   *health.Tracker
	wall     *clock.Wall
	meter    flex.DeviceID
	assets   []allocate.Asset
	again    chan struct{} // a record is new
	planner  allocate.Planner

	mu        sync.Mutex
	standings map[flex.DeviceID]commission.Standing
	alerted   map[flex.DeviceID]bool
}

// newBench makes what control needs of it; complete adds the rest.
func newBench(a *Agent) *bench {
	cfg := a.conf.cfg
	return &bench{required: cfg.RequireCommissioning, override: commission.NewOverride(), shelf: commission.NewShelf(cfg.Data, cfg.Site.ID),
		board: a.board, health: a.health, wall: a.wall, meter: cfg.Site.Meter, assets: allocation(cfg.Site, cfg.Assets), again: make(chan struct{}, 1),
		standings: map[flex.DeviceID]commission.Standing{}, alerted: map[flex.DeviceID]bool{}}
}

// plan is the planner with the nudges of a commissioning among its targets. Only
// control calls it, for what is carried out.
func (b *bench) plan(in allocate.Input) allocate.Plan {
	if len(in.Prepare) > 0 {
		in.Prepare = slices.DeleteFunc(slices.Clone(in.Prepare), func(p allocate.Preparation) bool { return b.override.Tries(p.Device) })
	}
	p := b.planner.Decide(in)
	p.Targets, p.Next = b.override.Shape(in.Now, p.Targets, p.Next, in.Holds)
	return p
}

// complete builds the commissioning over the running control.
func (b *bench) complete(a *Agent) {
	b.control = a.control
	b.override.OnChange(a.control.Wake)
	runner := commission.New(commission.Config{Site: b, Hand: b.override, Liner: lines{a.devices}, Now: a.wall.Now, Version: a.id.Version, Log: a.log})
	b.desk = commission.NewDesk(runner, b.shelf, func() {
		select {
		case b.again <- struct{}{}:
		default:
		}
	}, a.log)
	b.writes = commission.NewWrites(a.conf.cfg.Data, a.devices, b.untouchable, func() time.Time { now, _ := a.wall.Now(); return now })
}

// standing is what control may do with a device, by its record. Where
// commissioning is required, nothing is controlled before that was looked at.
func (b *bench) standing(id flex.DeviceID) control.Standing {
	b.mu.Lock()
	s, judged := b.standings[id]
	b.mu.Unlock()
	if !judged && b.required {
		s.Refusal = flex.Refuse(flex.ReasonUncontrollable, "the commissioning record of %s was not looked at yet", id)
	}
	return control.Standing{Refusal: s.Refusal, Lead: s.Tuning.Lead, Settle: s.Tuning.Settle, Revert: s.Tuning.Revert}
}

// judge compares the records with the devices until ctx ends.
func (b *bench) judge(ctx context.Context) error {
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	plates := map[flex.DeviceID]string{}
	for {
		for _, st := range b.control.Status() {
			plate := fmt.Sprint(st.Plate)
			if st.Plate.Method == "" || plates[st.ID] == plate {
				continue // it did not answer yet, only measures, or was judged
			}
			found := b.shelf.Standing(st.ID, st.Plate, b.required)
			record, _, err := b.shelf.Get(st.ID)
			if errors.Is(err, commission.ErrNone) && !b.required {
				found.Missing = "" // nobody asked for one
			}
			if err == nil && found.Missing == "" && found.Refusal == nil {
				b.control.Resume(st.ID, record.At) // proven since
			}
			b.keep(st.ID, found)
			plates[st.ID] = plate
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-b.again:
			clear(plates)
		}
	}
}

func (b *bench) keep(id flex.DeviceID, s commission.Standing) {
	b.mu.Lock()
	b.standings[id] = s
	was := b.alerted[id]
	b.alerted[id] = s.Missing != ""
	b.mu.Unlock()
	switch {
	case s.Missing != "":
		b.health.Raise(commission.CodeNotCommissioned, string(id), s.Missing)
	case was:
		b.health.Clear(commission.CodeNotCommissioned, string(id))
	}
	b.control.Wake()
}

// Busy is why a device must not be tried now.
func (b *bench) Busy(id flex.DeviceID) *flex.Refusal {
	for _, h := range b.board.Holds() {
		if h.Asset == "" || slices.Contains(b.sharing(id), h.Asset) {
			return flex.Refuse(flex.ReasonLocalHold, "%s is on hold by %s: `flexd release` lifts it", id, h.By)
		}
	}
	now, _ := b.wall.Now()
	for _, d := range b.board.Present() {
		if d.Window.Start.Sub(now) > nearDispatch || !slices.ContainsFunc(d.Shares, func(s flex.AssetShare) bool { return slices.Contains(b.sharing(id), s.Asset) }) {
			continue
		}
		return flex.Refuse(flex.ReasonOverlap, "instruction %s needs %s from %s: try again after it", d.ID, id, d.Window.Start.UTC().Format(time.RFC3339))
	}
	return nil
}

// sharing are the assets that a device is part of.
func (b *bench) sharing(id flex.DeviceID) []flex.AssetID {
	var out []flex.AssetID
	for _, a := range b.assets {
		if slices.Contains(a.Devices, id) {
			out = append(out, a.ID)
		}
	}
	return out
}

// untouchable is why registers must not be written by hand now.
func (b *bench) untouchable(id flex.DeviceID) *flex.Refusal {
	if r := b.Busy(id); r != nil {
		return r
	}
	if s := b.desk.State(id); s.Phase == commission.PhaseRunning {
		return flex.Refuse(flex.ReasonOverlap, "%s is being commissioned", id)
	}
	if st, ok := b.Device(id); ok && st.Held {
		return flex.Refuse(flex.ReasonOverlap, "%s is under control or not handed back yet", id)
	}
	return nil
}

// Device is a device as control sees it.
func (b *bench) Device(id flex.DeviceID) (flex.DeviceStatus, bool) {
	all := b.control.Status()
	i := slices.IndexFunc(all, func(s flex.DeviceStatus) bool { return s.ID == id })
	if i < 0 {
		return flex.DeviceStatus{}, false
	}
	return all[i], true
}

// Meter is the latest sample of the site's meter.
func (b *bench) Meter() (flex.Reading, bool) {
	st, ok := b.Device(b.meter)
	if !ok || st.Reading == nil {
		return flex.Reading{}, false
	}
	return *st.Reading, true
}

// lines counts connections by the drivers.
type lines struct{ set *drivers.Set }

// Lines opens further connections beside ours for a moment.
func (l lines) Lines(ctx context.Context, id flex.DeviceID) (commission.Lines, error) {
	extra, drops, err := l.set.Lines(ctx, id)
	return commission.Lines{Extra: extra, Drops: drops}, err
}
