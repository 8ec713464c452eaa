package agent

import (
	"context"
	"fmt"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock"
	"flexd/agent/control"
	"flexd/agent/dispatch"
	"flexd/agent/fleet"
	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/agent/run"
	"flexd/drivers"
)

// build makes every part, in the order in which they need one another.
func (a *Agent) build() error {
	if err := a.takeSession(); err != nil {
		return err
	}
	a.buildTelemetry()
	err := a.buildMeter()
	if err != nil {
		return err
	}
	a.events.commit = a.ledger().Commit
	if a.devices, err = drivers.Open(driverConfigs(a.conf.cfg), a.log); err != nil {
		return err
	}
	a.claims = newClaims(a)
	a.board = dispatch.NewBoard()
	a.bench = newBench(a)
	a.buildWhy()
	a.buildControl()
	a.bench.complete(a)
	if err := a.openMarket(); err != nil {
		return err
	}
	if err := a.buildDispatch(); err != nil {
		return err
	}
	if err := a.buildIntake(); err != nil {
		return err
	}
	if err := a.buildDoors(); err != nil {
		return err
	}
	if err := a.buildFleet(); err != nil {
		return err
	}
	a.buildPreflight()
	a.buildLocal()
	a.buildGroup()
	return nil
}

func (a *Agent) buildControl() {
	cfg := a.conf.cfg
	devices := make([]control.Device, 0, len(cfg.Devices))
	settings := make([]control.DeviceSettings, 0, len(cfg.Devices))
	for i, d := range a.devices.Devices() {
		devices = append(devices, d)
		c := cfg.Devices[i]
		settings = append(settings, control.DeviceSettings{ID: c.ID, Role: c.Role, ReserveSoC: c.Reserve, MaxSoC: c.MaxSoC, Lead: c.Lead, Ramp: c.Ramp, Owner: owner(c.Owner), Cycles: c.Owner.Cycles, GridCharge: c.GridCharge, MaxPower: c.MaxPower,
			Ownership: c.Ownership, Contests: c.Contests, Rest: c.Rest, WriteBudget: c.WriteBudget})
	}
	a.control = control.New(control.Config{
		Devices: devices, Settings: settings, Assets: allocation(cfg.Site, cfg.Assets),
		ImportLimit: cfg.Site.ImportLimit, ExportLimit: cfg.Site.ExportLimit, Meter: cfg.Site.Meter, Delivery: delivery(cfg.Assets),
		Plan: a.plan, Decide: allocate.Decide, Prepare: a.preparations, Standing: a.claims.standing(a.bench.standing), Board: a.board, Journal: a.db, Budget: wearBook{a.db}, Days: wearBook{a.db}, Distrusts: wearBook{a.db}, Zone: cfg.Site.Timezone, Lost: a.db.Lost(), Stamp: a.wall.Stamp, Steady: a.wall.Steady,
		Quiet: a.devices.Quiet, Breaks: a.devices.Breaks, Health: a.health, Log: a.log,
		OnReading: a.reading, OnChange: func() { a.engine.Wake() }, Beat: func() { a.beat.Done(time.Now()) },
	})
	a.db.Along(a.control.Unwritten)
}

func (a *Agent) buildDispatch() error {
	pace, rest := paces(a.conf.cfg.Assets)
	past, err := a.ended(rest)
	if err != nil {
		return err
	}
	book, market := a.ledger(), a.conf.cfg.Market
	a.engine = dispatch.NewEngine(dispatch.Config{Board: a.board, Ledger: book, Progress: a.control, Wall: a.wall, Health: a.health, Log: a.log,
		Market: a.market, Answers: func(operator string) string { return market.Operator(operator).Answers },
		Contract: contracts(market.Contracts), KeepEnds: !a.market.Profile().EndInPastStops(), Foresee: a.control.Foresee, ForeseeFar: a.control.ForeseeFar, Afford: a.control.Afford, Baseline: a.meter.Baseline, Pace: pace, Ended: past, Assets: ours(a.conf.cfg.Assets)})
	a.answers = dispatch.NewAnswers(dispatch.AnswersConfig{Engine: a.engine, Owings: book, Market: a.market, Teller: a.market, Wall: a.wall, Log: a.log})
	return nil
}

func (a *Agent) buildFleet() error {
	m := a.conf.cfg.MQTT
	if m == nil {
		return nil
	}
	p, err := paths(m.CA, m.Cert, m.Key)
	if err != nil {
		return fmt.Errorf("mqtt: %w", err)
	}
	conf := fleet.Config{Site: string(a.conf.cfg.Site.ID), Broker: m.Broker, CAFile: p[0], CertFile: p[1], KeyFile: p[2],
		BackendAcks: m.BackendAcks, Session: a.session, Epoch: a.db.Epoch(), Outbox: a.outbox(), Series: a.tele,
		State: a.stateBody, Contested: a.contested, Birth: a.birthBody, Stamp: a.wall.Stamp, CertAt: a.wall.Certificates, Log: a.log}
	if a.relay != nil {
		conf.Relay, conf.Shared = a.relay, a.conf.cfg.Ingress.Relay.Shared
	}
	if a.siblings = watchSiblings(a); a.siblings != nil {
		conf.Siblings, conf.Group = a.siblings, m.Group
	}
	a.fleet = fleet.New(conf)
	return nil
}

func (a *Agent) buildLocal() {
	cfg := a.conf.cfg
	view := &view{a}
	if cfg.Local.Listen != "" {
		a.page = local.NewPage(cfg.Local.Listen, cfg.Local.Names, view, a.log)
	}
	socket := cfg.Local.Socket
	if socket == "" {
		socket = local.DefaultSocket()
	}
	a.socket = local.NewSocket(socket, local.Parts{Source: view, Actor: view, Bench: view, Answers: view, Declarer: view, Subscriber: view, Driller: view, Explainer: view, Preflighter: view, Metered: view, Sampled: view, Zone: cfg.Site.Timezone.String()}, a.log)
}

func (a *Agent) buildGroup() {
	g := run.NewGroup(a.log, a.health)
	g.Vital(a.control, a.engine)
	g.Auxiliary(a.socket, run.Func(a.checks.Name(), a.checks.Run))
	g.Auxiliary(run.Func("events", a.events.run), run.Func(a.bench.desk.Name(), a.bench.desk.Run), run.Func("commissioning-records", a.bench.judge), run.Func("claims", a.claims.run), run.Func("intervals", a.meter.Run), run.Func("upkeep", a.upkeep), run.Func("service-manager", a.attend))
	g.Auxiliary(run.Func("clock", func(ctx context.Context) error { return a.wall.Watch(ctx, a.health, a.log) }))
	if a.conf.copied != nil {
		g.Vital(a.conf.copied.task(a.log))
	} else {
		a.addMarket(g)
	}
	if ntp := a.conf.cfg.Clock.NTP; len(ntp) > 0 {
		a.servers = clock.NewServers(ntp, a.wall, a.health, a.log)
		g.Auxiliary(run.Func("time-servers", a.servers.Run))
	}
	if a.whyDB != nil {
		g.Auxiliary(run.Func("history", func(ctx context.Context) error { return a.why.Run(ctx, whyShelf{a.whyDB}, a.tellWhy) }))
	}
	if a.conf.copied == nil {
		g.Auxiliary(run.Func(a.tele.Name(), a.tele.Run))
	}
	if a.fleet != nil {
		g.Auxiliary(a.fleet)
		if a.siblings != nil {
			g.Auxiliary(run.Func(a.siblings.Name(), a.siblings.Run))
		}
	}
	if a.page != nil {
		g.Auxiliary(a.page)
	}
	a.group = g
}

// addMarket adds what takes something in, and what counts on being able to keep it.
func (a *Agent) addMarket(g *run.Group) {
	g.Auxiliary(a.intake, a.sync, a.poller, a.answers, run.Func("market-key", a.keepKey))
	if a.conf.broken == nil {
		g.Auxiliary(run.Func("last-good-config", a.keepGood))
	}
	if a.webhook != nil {
		g.Auxiliary(a.webhook)
	}
	if a.relay != nil {
		g.Auxiliary(a.relay)
	}
}

// outbox is the store's; that of a copy stays unsent, since its numbers would
// be given again.
func (a *Agent) outbox() fleet.Outbox {
	if a.conf.copied != nil {
		return noOutbox{}
	}
	return a.db
}

// noOutbox has nothing to send.
type noOutbox struct{}

// After gives nothing.
func (noOutbox) After(context.Context, flex.Stream, uint64, int) ([]flex.Message, error) {
	return nil, nil
}

// Done frees nothing.
func (noOutbox) Done(context.Context, flex.Stream, uint64) error { return nil }
