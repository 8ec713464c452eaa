package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/config"
	"flexd/agent/dispatch"
	"flexd/agent/flex"
	"flexd/agent/intake"
	"flexd/agent/local"
	"flexd/store"
)

// view is the agent as page and commands see it.
type view struct{ a *Agent }

// Status gathers the site at a glance.
func (v *view) Status(ctx context.Context) (local.Status, error) {
	a := v.a
	at := a.wall.State()
	at.Servers = a.servers.Status()
	now := at.At
	holds, err := a.db.Holds(ctx)
	if err != nil {
		return local.Status{}, fmt.Errorf("cannot read the holds: %w", err)
	}
	st := local.Status{Site: a.conf.cfg.Site.ID, Version: a.id.Version, At: now, Started: a.started, Timezone: a.conf.cfg.Site.Timezone.String(),
		Clock: at.Trust, Time: at, Config: a.conf.source(), Alerts: a.health.Active(), Holds: holds, Devices: a.control.Status(), Links: v.links()}
	select {
	case <-a.group.Ready():
		st.Ready = true
	default:
	}
	st.Preflight = a.checks.Latest()
	if st.Unavailable, err = v.standing(ctx, now); err != nil {
		return st, err
	}
	known, err := a.db.Assets(ctx)
	if err != nil {
		return st, fmt.Errorf("cannot read the assets: %w", err)
	}
	for _, c := range a.conf.cfg.Assets {
		row := asset(c, known)
		row.Loop = v.loop(c, st.Devices, now)
		st.Assets = append(st.Assets, row)
	}
	for addr, s := range a.devices.Stats() {
		e := local.Endpoint{Address: addr, Connected: s.Connected, Requests: s.Requests,
			Errors: s.Exceptions + s.Timeouts + s.Protocol + s.Lost, Reconnects: max(1, s.Connects) - 1, LastError: s.LastError, LastErrorAt: s.LastErrorAt,
			Exceptions: s.Exceptions, Timeouts: s.Timeouts, Protocol: s.Protocol, Lost: s.Lost, Latency: s.Latency.Round(100 * time.Microsecond)}
		for _, u := range s.Units {
			e.Units = append(e.Units, local.Unit{Unit: u.Unit, Requests: u.Requests, Failures: u.Failures, LastError: u.LastError, LastErrorAt: u.LastErrorAt, RetryAt: u.RetryAt})
		}
		st.Endpoints = append(st.Endpoints, e)
	}
	st.Files = v.files(now.Sub(a.started))
	slices.SortFunc(st.Endpoints, func(x, y local.Endpoint) int { return strings.Compare(x.Address, y.Address) })
	return st, nil
}

// loop tells how an asset is held by its meter, nil when it is not.
func (v *view) loop(c config.Asset, devices []flex.DeviceStatus, now time.Time) *local.Loop {
	l := v.a.control.Plan().State.Loops[c.MarketID]
	if !l.Active {
		return nil
	}
	out := &local.Loop{Wanted: l.For, Rest: l.Rest, Asked: l.Wish}
	for _, d := range devices {
		if d.ID == c.Meter && d.Reading != nil && d.Reading.Fresh(now, 5*time.Second) {
			out.Meter = d.Reading.Power
		}
	}
	return out
}

func asset(c config.Asset, known []flex.MarketAsset) local.Asset {
	out := local.Asset{ID: c.MarketID, Devices: c.Devices, Control: c.Control}
	for _, m := range known {
		if m.ID == c.MarketID {
			out.Name = m.Name
		}
	}
	return out
}

// links tells how the outside is reached.
func (v *view) links() []local.Link {
	a, cfg := v.a, v.a.conf.cfg
	now, _ := a.wall.Now()
	market := local.Link{Name: "market", OK: true, Text: cfg.Market.BaseURL}
	for _, alert := range a.health.Active() {
		if alert.Code == intake.CodeMarketUnreachable && alert.GoodSince.IsZero() {
			market.OK, market.Text, market.Since = false, alert.Text, alert.Since
		}
	}
	out := []local.Link{market}
	if a.webhook != nil {
		door := local.Link{Name: "webhook", Text: "not listening"}
		if addr := a.webhook.Addr(); addr != nil {
			door.OK, door.Text = true, addr.String()+cfg.Ingress.Webhook.Path
		}
		out = append(out, door)
	}
	if a.relay != nil {
		out = append(out, relayLink(a.relay.Status(), now))
	}
	if a.fleet != nil {
		s := a.fleet.Status()
		text := cfg.MQTT.Broker
		if !s.Connected {
			text += ": " + s.LastError
		}
		out = append(out, local.Link{Name: "fleet", OK: s.Connected, Text: text, Since: s.Since})
	}
	return out
}

// Obligations lists the contracts that name one of our assets first, with
// their windows ahead.
func (v *view) Obligations(ctx context.Context, ahead time.Duration) ([]local.Obligation, error) {
	list, err := v.a.db.Obligations(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the obligations: %w", err)
	}
	now, _ := v.a.wall.Now()
	mine := ours(v.a.conf.cfg.Assets)
	checked := v.checked(flex.PreflightObligation)
	out := make([]local.Obligation, 0, len(list))
	for _, ob := range list {
		ob.Raw = nil
		row := local.Obligation{Obligation: ob, Ours: []flex.AssetID{}}
		for _, id := range ob.Assets {
			if slices.Contains(mine, id) {
				row.Ours = append(row.Ours, id)
			}
		}
		if row.Next, err = dispatch.Windows(ob, now, now.Add(ahead)); err != nil {
			v.a.log.Debug("an obligation has no readable windows", "obligation", ob.ID, "error", err)
		}
		row.Preflight = checked[string(ob.ID)]
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(x, y local.Obligation) int { return min(1, len(y.Ours)) - min(1, len(x.Ours)) })
	return out, nil
}

// Instructions lists the latest first.
func (v *view) Instructions(ctx context.Context, limit int) ([]local.Instruction, error) {
	list, err := v.a.db.Records(ctx, store.RecordQuery{Limit: limit})
	if err != nil {
		return nil, fmt.Errorf("cannot read the instructions: %w", err)
	}
	checked, out := v.checked(flex.PreflightInstruction), make([]local.Instruction, len(list))
	for i, r := range list {
		out[i] = local.Instruction{Record: r, Outcome: local.OutcomeOf(r), Preflight: checked[string(r.ID)]}
	}
	return out, nil
}

// Detail is one instruction with everything known about it.
func (v *view) Detail(ctx context.Context, id flex.InstructionID) (local.Detail, error) {
	rec, ok, err := v.a.db.Record(ctx, id)
	if err != nil {
		return local.Detail{}, fmt.Errorf("cannot read the instruction: %w", err)
	}
	if t, stopped, err := v.a.db.Tombstone(ctx, id); err == nil && stopped && !ok {
		return local.Detail{}, flex.Refuse(flex.ReasonStopped, "%s was stopped by %s at %s, before any start of it came; one that comes will be refused",
			id, t.By, t.At.At.In(v.a.conf.cfg.Site.Timezone).Format("2006-01-02 15:04:05 MST"))
	}
	if !ok {
		return local.Detail{}, flex.Refuse(flex.ReasonNotOurs, "there is no instruction %q here; `flexd instructions` lists them", id)
	}
	d := local.Detail{Record: rec, Preflight: v.checked(flex.PreflightInstruction)[string(id)]}
	if p, ok := v.a.control.Progress()[id]; ok {
		d.Progress = &p
	}
	d.Outcome = local.OutcomeOf(rec)
	if d.Progress != nil {
		d.Outcome = local.OutcomeOf(rec.Counted(d.Progress.Energy))
	}
	if n, ok, err := v.a.db.Notice(rec.Notification); err == nil && ok {
		d.Notice = &n
	}
	if d.Sights, err = v.a.db.Sights(ctx, id); err != nil {
		return d, fmt.Errorf("cannot read by which doors it came: %w", err)
	}
	slices.SortFunc(d.Sights, func(x, y flex.Sight) int { return x.At.Compare(y.At) })
	return d, nil
}

// Events are the latest lines of the diary.
func (v *view) Events(ctx context.Context, limit int) ([]local.Event, error) {
	list, err := v.a.db.Audit(ctx, time.Time{}, limit)
	if err != nil {
		return nil, fmt.Errorf("cannot read the diary: %w", err)
	}
	out := make([]local.Event, len(list))
	for i, l := range list {
		out[i] = local.Event{At: l.At.At, What: l.What, Subject: l.Subject, Text: l.Text}
	}
	slices.SortStableFunc(out, func(x, y local.Event) int { return y.At.Compare(x.At) })
	return out, nil
}

// Point is the chart's next second.
func (v *view) Point() local.Point {
	now, _ := v.a.wall.Now()
	p := local.Point{At: now}
	for _, d := range v.a.control.Status() {
		if d.ID == v.a.conf.cfg.Site.Meter && d.Reading != nil && d.Reading.Fresh(now, 5*time.Second) {
			p.Meter = d.Reading.Power
		}
		if d.Role == flex.RoleMeter {
			continue
		}
		if d.Reading != nil && d.Reading.Power != nil && d.Reading.Fresh(now, 5*time.Second) && v.sold(d.ID) {
			p.Measured = plus(p.Measured, *d.Reading.Power)
		}
		if d.Target.Order == flex.OrderSet || d.Target.Order == flex.OrderCap {
			p.Target = plus(p.Target, d.Target.Power)
		}
	}
	return p
}

// sold tells whether a device is part of an asset: the chart compares what is
// asked with those that can be asked.
func (v *view) sold(id flex.DeviceID) bool {
	for _, a := range v.a.conf.cfg.Assets {
		if slices.Contains(a.Devices, id) {
			return true
		}
	}
	return false
}

func plus(sum *flex.Watts, w flex.Watts) *flex.Watts {
	if sum != nil {
		w += *sum
	}
	return &w
}

// Hold, Lift and Stop are a person's orders; the engine decides and stores.
func (v *view) Hold(ctx context.Context, id flex.AssetID, by, reason string) error {
	if err := v.known(id); err != nil {
		return err
	}
	return v.a.engine.Hold(ctx, flex.Hold{Asset: id, By: by, Reason: reason, At: v.a.wall.Stamp()})
}

// Lift ends a hold.
func (v *view) Lift(ctx context.Context, id flex.AssetID, by string) error {
	if err := v.known(id); err != nil {
		return err
	}
	return v.a.engine.LiftHold(ctx, id, by)
}

// Stop ends one instruction at this site.
func (v *view) Stop(ctx context.Context, id flex.InstructionID, by string) error {
	return v.a.engine.StopLocal(ctx, id, by)
}

func (v *view) known(id flex.AssetID) error {
	mine := ours(v.a.conf.cfg.Assets)
	if id == "" || slices.Contains(mine, id) {
		return nil
	}
	return flex.Refuse(flex.ReasonUnknownAsset, "asset %q is not configured here; there are: %v", id, mine)
}

// Probe identifies a device through the connection that the agent owns.
func (v *view) Probe(ctx context.Context, id flex.DeviceID) (local.Probe, error) {
	for _, d := range v.a.devices.Devices() {
		if d.ID() != id {
			continue
		}
		plate, err := d.Open(ctx)
		if err != nil {
			return local.Probe{}, flex.Plainly(err, "cannot identify %s", id)
		}
		p := local.Probe{Device: id, Address: d.Endpoint(), Unit: d.Unit(), Plate: plate}
		if r, err := d.Read(ctx); err == nil {
			p.Reading = &r
		}
		return p, nil
	}
	return local.Probe{}, flex.Refuse(flex.ReasonNotOurs, "there is no device %q; `flexd device list` lists them", id)
}

// Registers reads raw registers.
func (v *view) Registers(ctx context.Context, id flex.DeviceID, fn byte, addr, count uint16) ([]uint16, error) {
	return v.a.devices.ReadRaw(ctx, id, fn, addr, count)
}

var _ interface {
	local.Source
	local.Actor
	local.Bench
	local.Answerer
	local.Declarer
	local.Subscriber
} = (*view)(nil)
