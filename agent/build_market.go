package agent

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"time"

	"flexd/agent/config"
	"flexd/agent/dispatch"
	"flexd/agent/fleet"
	"flexd/agent/flex"
	"flexd/agent/ingress"
	"flexd/agent/intake"
	"flexd/agent/piclo"
	"flexd/agent/trust"
)

// nearLead is how long before a service window instructions are likely.
const nearLead = 15 * time.Minute

// openMarket makes the adapter; nothing is asked of the market yet.
func (a *Agent) openMarket() error {
	cfg := a.conf.cfg
	profile, err := piclo.LoadProfile(cfg.Market.Profile)
	if err != nil {
		return fmt.Errorf("market.profile: %w", err)
	}
	a.market, err = piclo.Open(piclo.Config{Profile: profile, BaseURL: cfg.Market.BaseURL, Origins: cfg.Market.Origins, ClientID: cfg.Market.ClientID,
		APIKey: readSecret(cfg.Market.APIKey), Keys: a.db, Wall: a.wall, CertAt: a.wall.Certificates, Heard: a.heard, Insecure: cfg.Market.Insecure,
		UnknownStops: cfg.Market.UnknownWord == config.UnknownStop, Log: a.log})
	if err != nil {
		return fmt.Errorf("market: %w", err)
	}
	return nil
}

// buildIntake makes what takes in notifications, instructions and contracts,
// and the doors before it.
func (a *Agent) buildIntake() error {
	cfg := a.conf.cfg
	book := a.ledger()
	operators, err := a.operators()
	if err != nil {
		return err
	}
	a.sync = intake.NewSync(intake.SyncConfig{Market: a.market, Book: book, Clock: a.wall, Health: a.health, Log: a.log, Every: cfg.Market.Sync,
		Region: func(operator string) string { return cfg.Market.Operator(operator).Holidays }, Ours: ours(cfg.Assets), Changed: func() { a.intake.Rematch() },
		Operators: known(cfg.Market.Operators)})
	a.intake = intake.New(intake.Config{Verifier: a.market, Fetcher: a.market, Assets: a.market, Book: book, Stopper: a.board, Clock: a.wall,
		Health: a.health, Log: a.log, Wake: a.engine.Wake, SyncNow: a.sync.Wake, Waiting: a.engine.Waiting, PollNow: func() { a.poller.Wake() }, Ours: ours(cfg.Assets), Signatures: operators, Direction: a.market.ResolveDirection,
		RefusedDir: filepath.Join(cfg.Data, refusedName)})
	return nil
}

// known are the operators that the configuration has rules for.
func known(list []config.Operator) []intake.Known {
	out := make([]intake.Known, len(list))
	for i, o := range list {
		out[i] = intake.Known{Name: o.Name, Aliases: o.Aliases}
	}
	return out
}

// operators are those whose own signatures can be judged.
func (a *Agent) operators() (*trust.Operators, error) {
	var list []trust.Operator
	for _, o := range a.conf.cfg.Market.Operators {
		op := trust.Operator{Name: o.Name, Aliases: o.Aliases, Policy: o.Signature, Scheme: o.Scheme, Fields: o.Fields, Separator: o.Separator, Encoding: o.Encoding}
		for _, k := range o.Keys {
			op.Keys = append(op.Keys, readKey(k))
		}
		list = append(list, op)
	}
	out, err := trust.NewOperators(list, a.market.Profile().SignaturePointers())
	if err != nil {
		return nil, fmt.Errorf("market.operators: %w", err)
	}
	return out, nil
}

// readKey reads an operator's key anew each time, so that it can be rotated in
// place.
func readKey(s config.Secret) func() ([]byte, error) {
	read := readSecret(s)
	return func() ([]byte, error) {
		text, err := read()
		return []byte(text), err
	}
}

// buildDoors makes the poller and the doors that the configuration opens.
func (a *Agent) buildDoors() error {
	cfg := a.conf.cfg
	a.poller = ingress.NewPoller(ingress.PollerConfig{Intake: a.intake, Every: cfg.Market.Poll, NearEvery: cfg.Market.PollNear, Near: a.near,
		Health: a.health, Log: a.log})
	if r := cfg.Ingress.Relay; r != nil {
		a.relay = ingress.NewRelayDoor(ingress.RelayConfig{Intake: a.intake, Topics: fleet.RelayTopics(string(cfg.Site.ID), r.Shared), Gap: a.poller.Wake, Log: a.log})
	}
	hook := cfg.Ingress.Webhook
	if hook == nil {
		return nil
	}
	p, err := paths(hook.Cert, hook.Key)
	if err != nil {
		return fmt.Errorf("ingress.webhook.tls: %w", err)
	}
	a.webhook = ingress.NewWebhook(ingress.WebhookConfig{Listen: hook.Listen, Path: hook.Path, CertFile: p[0], KeyFile: p[1],
		TrustedProxies: hook.TrustedProxies, Intake: a.intake, Signed: func(h http.Header) bool { return a.market.Profile().SignedByHeader(h) }, Health: a.health, Log: a.log})
	return nil
}

// near tells whether a service window of ours is open or about to open. A
// store that cannot be read makes every time one of these.
func (a *Agent) near(now time.Time) (bool, time.Time) {
	list, err := a.db.Obligations(context.Background())
	if err != nil {
		return true, time.Time{}
	}
	mine := ours(a.conf.cfg.Assets)
	list = slices.DeleteFunc(list, func(o flex.Obligation) bool {
		return !slices.ContainsFunc(o.Assets, func(id flex.AssetID) bool { return slices.Contains(mine, id) })
	})
	return dispatch.Near(list, now, nearLead)
}

// heard takes the date of the market's answers.
func (a *Agent) heard(date, sent, got time.Time) { a.wall.Heard("the market", date, sent, got) }
