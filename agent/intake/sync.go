package intake

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Times of the synchronisation.
const (
	syncEvery     = 15 * time.Minute
	syncBack      = 24 * time.Hour
	syncAhead     = 35 * 24 * time.Hour
	syncTimeout   = 2 * time.Minute
	syncGap       = 10 * time.Second // between two, whoever asks
	syncConfirm   = time.Minute      // look again for a contract that vanished
	detailEvery   = 4                // synchronisations: competitions and assets of known contracts
	alarmFailures = 3
	maxDetails    = 10000 // remembered as fetched
)

// Market lists contracts and what belongs to them.
type Market interface {
	Obligations(ctx context.Context, since, to time.Time) ([]flex.Obligation, error)
	Competition(ctx context.Context, id flex.CompetitionID) (flex.Competition, error)
	AssetSource
}

// SyncBook is the store as Sync needs it.
type SyncBook interface {
	Catalogue
	Commit(ctx context.Context, ch flex.Changes) error
}

// Spread is by how much two sites that synchronise so often may differ for no
// other reason than that one asked the market before the other.
func Spread(every time.Duration) time.Duration { return (detailEvery + 2) * every }

// SyncConfig is what a Sync needs. Every is 15 minutes when zero. Region tells
// whose bank holidays count for an operator's contracts; it may be nil.
type SyncConfig struct {
	Market Market
	Book   SyncBook
	Clock  Clock
	Health Health
	Log    *slog.Logger
	Every  time.Duration
	Region func(operator string) string
	// Ours are the assets of the configuration.
	Ours []flex.AssetID
	// Operators are those that the configuration has rules for: one that fits no
	// contract of Ours is told.
	Operators []Known
	// Changed is called after contracts, assets or competitions were stored; it
	// may be nil.
	Changed func()
}

// Sync copies obligations, competitions and obligated assets from the market
// to the store. It is the task "market-sync". Without a market the store's
// last copy serves.
type Sync struct {
	cfg   SyncConfig
	wake  chan struct{}
	ready chan struct{}
	once  sync.Once

	// Owned by Run.
	detailed map[string]time.Time       // when competitions and assets were fetched
	missing  map[flex.ObligationID]bool // not listed the last time
	strange  map[string]bool            // names of operators that do not fit
	absent   map[flex.AssetID]int       // ours, for how many answers in a row
}

// NewSync builds a synchronisation; nothing runs yet.
func NewSync(cfg SyncConfig) *Sync {
	if cfg.Every <= 0 {
		cfg.Every = syncEvery
	}
	return &Sync{cfg: cfg, wake: make(chan struct{}, 1), ready: make(chan struct{}),
		detailed: map[string]time.Time{}, missing: map[flex.ObligationID]bool{}, absent: map[flex.AssetID]int{},
		strange: map[string]bool{}}
}

// Name is the task's name.
func (s *Sync) Name() string { return "market-sync" }

// Ready closes once the task runs: an agent without a market works too.
func (s *Sync) Ready() <-chan struct{} { return s.ready }

// Wake asks for a synchronisation now.
func (s *Sync) Wake() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Run synchronises at once, then at the interval, until ctx ends.
func (s *Sync) Run(ctx context.Context) error {
	s.once.Do(func() { close(s.ready) })
	failures := 0
	for ctx.Err() == nil {
		again, err := s.sync(ctx)
		if ctx.Err() != nil {
			return nil
		}
		least := syncGap
		wait := jitter(s.cfg.Every)
		switch {
		case err != nil:
			failures++
			wait, least = s.failed(failures, err)
		case again:
			failures, wait = 0, syncConfirm
		default:
			failures = 0
		}
		if err == nil {
			s.cfg.Health.Clear(CodeMarketUnreachable, "")
			s.operators(ctx)
		}
		s.pause(ctx, wait, least)
	}
	return nil
}

// failed gives the waits after a failure: the usual one, and the least one
// that a wake-up may not cut.
func (s *Sync) failed(failures int, err error) (wait, least time.Duration) {
	wait = jitter(min(s.cfg.Every, syncGap<<min(failures-1, 10)))
	least = syncGap
	var retry *flex.RetryError
	if errors.As(err, &retry) && retry.After > 0 {
		least = max(least, min(retry.After, time.Hour))
		wait = max(wait, least)
	}
	s.cfg.Log.Warn("cannot synchronise the contracts, the last copy serves", "failures", failures, "wait", wait, "error", err)
	if failures >= alarmFailures {
		s.cfg.Health.Raise(CodeMarketUnreachable, "", fmt.Sprintf("synchronising with the market fails: %v", err))
	}
	return wait, least
}

// pause waits; a wake-up ends it, but not before least is over.
func (s *Sync) pause(ctx context.Context, wait, least time.Duration) {
	began := time.Now()
	select {
	case <-ctx.Done():
		return
	case <-time.After(wait):
		return
	case <-s.wake:
	}
	select {
	case <-ctx.Done():
	case <-time.After(least - time.Since(began)):
	}
}

// jitter spreads an interval by ±10 %, so that a fleet does not ask at once.
func jitter(d time.Duration) time.Duration { return d - d/10 + rand.N(d/5+1) }

// sync copies once. What could be fetched is kept although the rest failed.
// again tells that something has to be looked at a second time soon.
func (s *Sync) sync(ctx context.Context) (again bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	st := s.cfg.Clock.Stamp()
	midnight := st.At.UTC().Truncate(24 * time.Hour)
	since, to := midnight.Add(-syncBack), midnight.Add(syncAhead)
	if len(s.detailed) > maxDetails {
		clear(s.detailed)
	}
	listed, broken := s.cfg.Market.Obligations(ctx, since, to)
	if broken != nil {
		broken = fmt.Errorf("cannot list obligations: %w", broken)
	}
	if broken != nil && len(listed) == 0 {
		return false, broken
	}
	have, err := loadCatalogue(ctx, s.cfg.Book)
	if err != nil {
		return false, fmt.Errorf("cannot read the contracts: %w", err)
	}
	var ch flex.Changes
	if broken == nil { // a list with holes ends no contract
		for _, o := range s.vanished(have, listed, since, to) {
			o.GoneAt = st.At
			ch.Obligations = append(ch.Obligations, o)
		}
	}
	fresh := s.fresh(have, listed, st.At)
	ch.Obligations = append(ch.Obligations, fresh...)
	detail := s.details(ctx, have, listed, fresh, st.At, &ch)
	if err := s.write(ctx, st, have, ch); err != nil {
		return false, err
	}
	if broken != nil {
		return false, broken
	}
	again = len(s.missing) > 0
	if detail == nil {
		again = s.account(ctx, listed, st.At) || again
	}
	return again, detail
}

// fresh are the listed contracts that are not stored as they are, each once.
func (s *Sync) fresh(have catalogue, listed []flex.Obligation, now time.Time) []flex.Obligation {
	var out []flex.Obligation
	seen := make(map[flex.ObligationID]bool, len(listed))
	for _, o := range listed {
		o.SyncedAt, o.GoneAt = time.Time{}, time.Time{}
		if o.Region == "" && s.cfg.Region != nil {
			o.Region = s.cfg.Region(o.Operator)
		}
		was := have.obligations[o.ID]
		was.SyncedAt = time.Time{}
		if o.ID == "" || seen[o.ID] || same(was, o) {
			seen[o.ID] = true
			continue
		}
		seen[o.ID] = true
		o.SyncedAt = now
		out = append(out, o)
	}
	return out
}

// write commits one synchronisation with what is told of it, and a line in
// the diary.
func (s *Sync) write(ctx context.Context, st flex.Stamp, have catalogue, ch flex.Changes) error {
	if ch.Empty() {
		return nil
	}
	text := fmt.Sprintf("%d obligation(s), %d competition(s), %d asset(s) new or changed",
		len(ch.Obligations), len(ch.Competitions), len(ch.Assets))
	ch.Audit = []flex.Audit{{At: st, What: "market.synced", By: "market", Text: text}}
	events := notices(have, ch.Obligations, st.At)
	if err := tell(&ch, st, events); err != nil {
		return err
	}
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := s.cfg.Book.Commit(ctx, ch); err != nil {
		clear(s.detailed)
		return fmt.Errorf("cannot store the contracts: %w", err)
	}
	if s.cfg.Changed != nil {
		s.cfg.Changed()
	}
	s.cfg.Log.Info("contracts synchronised", "obligations", len(ch.Obligations), "competitions", len(ch.Competitions), "assets", len(ch.Assets))
	for _, ev := range events {
		s.cfg.Log.Info(ev.Text, "event", ev.Code, "obligation", ev.Subject)
	}
	return nil
}

// vanished gives the contracts that should have been listed and were not, two
// times in a row: one answer with a hole in it ends no contract.
func (s *Sync) vanished(have catalogue, listed []flex.Obligation, since, to time.Time) []flex.Obligation {
	there := make(map[flex.ObligationID]bool, len(listed))
	for _, o := range listed {
		there[o.ID] = true
	}
	missing := map[flex.ObligationID]bool{}
	var out []flex.Obligation
	for id, o := range have.obligations {
		if there[id] || !o.GoneAt.IsZero() || o.StartDate > to.Format(time.DateOnly) ||
			o.EndDate != "" && o.EndDate <= since.Format(time.DateOnly) {
			continue
		}
		if s.missing[id] {
			out = append(out, o)
			continue
		}
		missing[id] = true
	}
	s.missing = missing
	slices.SortFunc(out, func(a, b flex.Obligation) int { return bytes.Compare([]byte(a.ID), []byte(b.ID)) })
	return out
}

// details fetches competitions and assets: of new and changed contracts at
// once, of the others now and then.
func (s *Sync) details(ctx context.Context, have catalogue, listed, fresh []flex.Obligation, now time.Time, ch *flex.Changes) error {
	changed := make(map[flex.ObligationID]bool, len(fresh))
	for _, o := range fresh {
		changed[o.ID] = true
	}
	of := map[flex.AssetID][]flex.ObligationID{}
	for _, o := range listed {
		for _, a := range o.Assets {
			of[a] = append(of[a], o.ID)
		}
	}
	assets := map[flex.AssetID]bool{}
	var first error
	for _, o := range listed {
		if k := "competition/" + string(o.Competition); o.Competition != "" && s.due(k, false) {
			first = s.note(k, s.competition(ctx, have, o.Competition, now, ch), first)
		}
		if k := "assets/" + string(o.ID); s.due(k, changed[o.ID]) {
			first = s.note(k, s.assets(ctx, have, o.ID, of, assets, now, ch), first)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return first
}

// due tells whether a detail is to be fetched.
func (s *Sync) due(key string, changed bool) bool {
	at, known := s.detailed[key]
	return changed || !known || time.Since(at) > detailEvery*s.cfg.Every
}

// competition fetches one competition into the changes when it is new.
func (s *Sync) competition(ctx context.Context, have catalogue, id flex.CompetitionID, now time.Time, ch *flex.Changes) error {
	c, err := s.cfg.Market.Competition(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot fetch competition %s: %w", id, err)
	}
	was := have.competitions[id]
	was.SyncedAt, c.SyncedAt = time.Time{}, time.Time{}
	if c.ID == id && !same(was, c) {
		c.SyncedAt = now
		ch.Competitions = append(ch.Competitions, c)
	}
	return nil
}

// assets fetches the assets of one contract into the changes, each once.
func (s *Sync) assets(ctx context.Context, have catalogue, id flex.ObligationID, of map[flex.AssetID][]flex.ObligationID,
	done map[flex.AssetID]bool, now time.Time, ch *flex.Changes) error {
	got, err := s.cfg.Market.ObligationAssets(ctx, id)
	if err != nil {
		return fmt.Errorf("cannot fetch the assets of obligation %s: %w", id, err)
	}
	for _, a := range got {
		if a.ID == "" || done[a.ID] {
			continue
		}
		done[a.ID] = true
		a.SyncedAt = time.Time{}
		a.Obligations = append(slices.Clone(a.Obligations), of[a.ID]...)
		slices.Sort(a.Obligations)
		a.Obligations = slices.Compact(a.Obligations)
		was := have.assets[a.ID]
		was.SyncedAt = time.Time{}
		if !same(was, a) {
			a.SyncedAt = now
			ch.Assets = append(ch.Assets, a)
		}
	}
	return nil
}

// note remembers that a detail was seen to. A failure that is not temporary
// concerns this detail alone: it is logged and tried again with the others; a
// temporary one fails the synchronisation, the first of them names it.
func (s *Sync) note(key string, err, first error) error {
	var retry *flex.RetryError
	if errors.As(err, &retry) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		if first == nil {
			return err
		}
		return first
	}
	if err != nil {
		s.cfg.Log.Warn("a detail of a contract cannot be had from the market", "detail", key, "error", err)
	}
	s.detailed[key] = time.Now()
	return first
}

// same compares as the store keeps it: raw parts may differ in white space.
func same(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
