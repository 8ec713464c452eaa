package dispatch

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/oklog/ulid/v2"

	"flexd/agent/flex"
)

// mostAway bounds the declarations that are in force at one time.
const mostAway = 1000

// Teller is the market as far as availability goes.
type Teller interface {
	TellsAvailability() bool
	DeclareUnavailable(ctx context.Context, u flex.Unavailability) error
	WithdrawUnavailable(ctx context.Context, u flex.Unavailability) error
}

// DeclareUnavailable keeps a person's declaration that an asset cannot
// deliver for a while. New starts in that time are refused or given without
// it; what was promised before stays a duty. The same declaration again is no
// news.
func (e *Engine) DeclareUnavailable(ctx context.Context, u flex.Unavailability) (flex.Unavailability, error) {
	now := e.cfg.Wall.Stamp()
	if u.ID == "" {
		id, err := ulid.New(ulid.Timestamp(now.At), rand.Reader)
		if err != nil {
			return u, fmt.Errorf("cannot name the declaration: %w", err)
		}
		u.ID = id.String()
	}
	if u.At.At.IsZero() {
		u.At = now
	}
	u.Window.Start, u.Window.End = u.Window.Start.UTC(), u.Window.End.UTC()
	u.Withdrawn, u.WithdrawnBy, u.Closed, u.Told, u.ToldAt, u.Tried, u.Failed = time.Time{}, "", time.Time{}, 0, time.Time{}, time.Time{}, ""
	if why := e.acceptable(u, now.At); why != nil {
		return u, why
	}
	err := e.ask(ctx, func(ctx context.Context) error {
		if old, ok := e.away[u.ID]; ok {
			if old.Asset == u.Asset && old.Window.Start.Equal(u.Window.Start) && old.Window.End.Equal(u.Window.End) && old.Withdrawn.IsZero() {
				return nil
			}
			return flex.Refuse(flex.ReasonConflict, "declaration %s says something else already", u.ID)
		}
		if len(e.away) >= mostAway {
			return flex.Refuse(flex.ReasonTooLarge, "%d declarations are in force: withdraw some first", len(e.away))
		}
		text := awayText(u)
		if duties := e.duties(u); len(duties) > 0 {
			text += "; still a duty: " + strings.Join(duties, ", ")
		}
		return e.putAway(ctx, u, e.cfg.Wall.Stamp(), true, text, u.By)
	})
	return u, err
}

// acceptable tells why a declaration cannot stand.
func (e *Engine) acceptable(u flex.Unavailability, now time.Time) error {
	if _, err := ulid.ParseStrict(u.ID); err != nil {
		return flex.Refuse(flex.ReasonBadField, "the id %q is not a ULID", clip(u.ID))
	}
	switch {
	case !slices.Contains(e.cfg.Assets, u.Asset):
		return flex.Refuse(flex.ReasonNotOurs, "asset %q is not one of this site's: %v", clip(string(u.Asset)), e.cfg.Assets)
	case u.Window.Start.IsZero() || u.Window.Open():
		return flex.Refuse(flex.ReasonBadField, "a declaration needs a start and an end")
	case !u.Window.End.After(u.Window.Start):
		return flex.Refuse(flex.ReasonBadField, "the end %s is not after the start", u.Window.End.Format(time.RFC3339))
	case !u.Window.End.After(now):
		return flex.Refuse(flex.ReasonTooLate, "%v is over", u.Window)
	case utf8.RuneCountInString(u.Reason) > mostText:
		return flex.Refuse(flex.ReasonBadField, "the reason is longer than %d characters", mostText)
	}
	return nil
}

// duties are the dispatches that a declaration does not touch.
func (e *Engine) duties(u flex.Unavailability) []string {
	var out []string
	for id, r := range e.open {
		w := asked(r)
		named := slices.ContainsFunc(r.Shares, func(s flex.AssetShare) bool { return s.Asset == u.Asset })
		if named && w.End.After(w.Start) && u.Stands(w) {
			out = append(out, fmt.Sprintf("%s (%s, %v)", id, r.State, w))
		}
	}
	slices.Sort(out)
	return out
}

// WithdrawUnavailable takes a declaration back.
func (e *Engine) WithdrawUnavailable(ctx context.Context, id, by string) error {
	return e.ask(ctx, func(ctx context.Context) error {
		u, ok := e.away[id]
		if !ok || !u.Withdrawn.IsZero() {
			return flex.Refuse(flex.ReasonNotOurs, "no declaration %q is in force", clip(id))
		}
		now := e.cfg.Wall.Stamp()
		u.Withdrawn, u.WithdrawnBy, u.Failed = now.At, by, ""
		return e.putAway(ctx, u, now, false, fmt.Sprintf("asset %s is available again: the declaration for %v is withdrawn by %s", u.Asset, u.Window, by), by)
	})
}

// putAway stores a declaration, its event and its line in the diary.
func (e *Engine) putAway(ctx context.Context, u flex.Unavailability, now flex.Stamp, raised bool, text, by string) error {
	if !raised {
		u.Closed = now.At
	}
	ch := flex.Changes{Unavailable: []flex.Unavailability{u}}
	ev := flex.Event{Code: CodeUnavailable, Severity: "info", Subject: string(u.Asset) + "/" + u.ID, Raised: raised, Text: text, FactAt: now.At}
	if err := tell(&ch, now, ev, by); err != nil {
		return err
	}
	if err := e.commit(ctx, ch); err != nil {
		return err
	}
	if raised || mustTell(u, now.At) {
		e.away[u.ID] = u
	} else {
		delete(e.away, u.ID)
	}
	e.reconsider()
	e.cfg.Log.Info(text, "declaration", u.ID)
	e.nudge()
	return nil
}

// standing are the declarations in force, in order.
func (e *Engine) standing() []flex.Unavailability {
	var out []flex.Unavailability
	for _, id := range slices.Sorted(maps.Keys(e.away)) {
		if u := e.away[id]; u.Withdrawn.IsZero() {
			out = append(out, u)
		}
	}
	return out
}

// endAway announces the end of declarations whose time is over.
func (e *Engine) endAway(ctx context.Context) error {
	now := e.cfg.Wall.Stamp()
	if now.Clock == flex.ClockUntrusted {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(e.away)) {
		u := e.away[id]
		switch {
		case u.Window.End.After(now.At):
		case u.Withdrawn.IsZero():
			if err := e.putAway(ctx, u, now, false, fmt.Sprintf("asset %s is available again: the declared time is over", u.Asset), ""); err != nil {
				return err
			}
		default:
			delete(e.away, id)
		}
	}
	return nil
}

// mustTell tells whether the market must hear of a declaration, or of its
// withdrawal. One that was taken back before anything was sent is not news.
func mustTell(u flex.Unavailability, now time.Time) bool {
	switch {
	case !u.Window.End.After(now):
		return false
	case u.Withdrawn.IsZero():
		return u.Told < 1
	}
	return u.Told == 1 || u.Told == 0 && !u.Tried.IsZero()
}

// awayMark begins the name of a declaration among the waits.
const awayMark = '!'

// The back-off for declarations: nothing hangs on the minute.
const (
	awayLeast = 10 * time.Second
	awayMost  = time.Hour
)

// declarations tells the market what was declared and withdrawn. It gives the
// next try.
func (a *Answers) declarations(ctx context.Context) time.Time {
	todo, err := a.cfg.Engine.untold(ctx)
	if err != nil {
		return time.Time{}
	}
	now, _ := a.cfg.Wall.Now()
	var next time.Time
	a.forgetAway(todo)
	for _, u := range todo {
		k := awayKey(u)
		if at := a.notBefore[k]; at.After(now) {
			next = earliest(next, at)
			continue
		}
		if err := a.cfg.Engine.noteTold(ctx, u.ID, func(x *flex.Unavailability) { x.Tried = now }); err != nil {
			return next
		}
		err := a.tellAway(ctx, u)
		if errors.Is(err, flex.ErrUnsupported) {
			a.unable = true
			a.cfg.Log.Info("the market takes no declarations: they stay local")
			return time.Time{}
		}
		told := 1
		if !u.Withdrawn.IsZero() {
			told = 2
		}
		if err == nil {
			delete(a.notBefore, k)
			err = a.cfg.Engine.noteTold(ctx, u.ID, func(x *flex.Unavailability) { x.Told, x.ToldAt, x.Failed = told, now, "" })
		} else {
			wait := awayMost // a refusal is tried again all the same, rarely
			if again(err) {
				wait = max(retryAfter(err), min(awayMost, max(awayLeast, a.awayWait[k]*2)))
			}
			a.awayWait[k] = wait
			a.notBefore[k] = now.Add(jitter(wait))
			next = earliest(next, a.notBefore[k])
			a.cfg.Log.Warn("the market was not told of a declaration", "declaration", u.ID, "asset", u.Asset, "error", err)
			text := clip(err.Error())
			err = a.cfg.Engine.noteTold(ctx, u.ID, func(x *flex.Unavailability) { x.Failed = text })
		}
		if err != nil {
			return next
		}
	}
	return next
}

// awayKey names a declaration, or its withdrawal, among the waits.
func awayKey(u flex.Unavailability) string {
	if u.Withdrawn.IsZero() {
		return string(awayMark) + u.ID
	}
	return string(awayMark) + u.ID + "/withdrawn"
}

// forgetAway drops the waits of what need not be told any more.
func (a *Answers) forgetAway(todo []flex.Unavailability) {
	for k := range a.notBefore {
		if k[0] == awayMark && !slices.ContainsFunc(todo, func(u flex.Unavailability) bool { return awayKey(u) == k }) {
			delete(a.notBefore, k)
			delete(a.awayWait, k)
		}
	}
}

func (a *Answers) tellAway(ctx context.Context, u flex.Unavailability) error {
	within, cancel := context.WithTimeout(ctx, sayWithin)
	defer cancel()
	if u.Withdrawn.IsZero() {
		return a.cfg.Teller.DeclareUnavailable(within, u)
	}
	return a.cfg.Teller.WithdrawUnavailable(within, u)
}

// untold are the declarations of which the market must hear.
func (e *Engine) untold(ctx context.Context) (out []flex.Unavailability, err error) {
	var todo []flex.Unavailability
	_, err = e.post(ctx, func(context.Context) error {
		now := e.cfg.Wall.Stamp()
		for _, id := range slices.Sorted(maps.Keys(e.away)) {
			if u := e.away[id]; mustTell(u, now.At) {
				todo = append(todo, u)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return todo, nil
}

// noteTold stores what became of telling.
func (e *Engine) noteTold(ctx context.Context, id string, change func(*flex.Unavailability)) error {
	_, err := e.post(ctx, func(ctx context.Context) error {
		u, ok := e.away[id]
		if !ok {
			return nil
		}
		change(&u)
		if err := e.commit(ctx, flex.Changes{Unavailable: []flex.Unavailability{u}}); err != nil {
			return err
		}
		e.away[id] = u
		if !u.Withdrawn.IsZero() && !mustTell(u, e.cfg.Wall.Stamp().At) {
			delete(e.away, id)
		}
		return nil
	})
	return err
}
