package intake

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"flexd/agent/flex"
)

// alarmAfter is the try from which a shortfall is an alarm: a market may
// notify a moment before its own list knows.
const alarmAfter = 2

// Run fetches what the open notices announce until ctx ends.
func (i *Intake) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	defer wg.Wait()
	i.once.Do(func() { close(i.ready) })
	var reload time.Time
	for ctx.Err() == nil {
		now := time.Now()
		if !now.Before(reload) || i.roomAgain() {
			reload = now.Add(reloadEvery)
			if err := i.load(ctx); err != nil && ctx.Err() == nil {
				i.log.Error("cannot read the open notifications, trying again", "error", err)
				reload = now.Add(backoffMin)
			}
		}
		due, wait := i.take(now)
		for _, j := range due {
			wg.Go(func() { i.guarded(ctx, j) })
		}
		again, all, rest := i.rematchDue(now)
		if again {
			wg.Go(func() { i.rematch(ctx, all) })
		}
		i.clearRefused(now)
		i.clearDoubts(now)
		select {
		case <-ctx.Done():
		case <-i.wake:
		case <-time.After(min(wait, rest, reload.Sub(now))):
		}
	}
	return nil
}

// guarded keeps a fault in one notice from ending the agent.
func (i *Intake) guarded(ctx context.Context, j *job) {
	defer func() {
		if r := recover(); r != nil {
			i.mu.Lock()
			id := j.notice.ID
			i.mu.Unlock()
			i.log.Error("a fault while a notification was worked on, trying again",
				"notification", short(id), "fault", r, "stack", string(debug.Stack()))
			i.retry(j, backoffMax)
		}
	}()
	i.work(ctx, j)
}

// work fetches one notice once and admits what came.
func (i *Intake) work(ctx context.Context, j *job) {
	i.mu.Lock()
	n, got, held := j.notice, j.parked, j.held
	src := source{id: n.ID, door: n.Door, doors: n.Doors, raw: j.raw, at: j.rawAt}
	i.mu.Unlock()
	if !held {
		var err error
		got, src.raw, err = i.fetch(ctx, j, n)
		src.at = i.cfg.Clock.Stamp().At
		got = named(got)
		i.stopFirst(ctx, src, got)
		if i.isUnkept(j) {
			i.keepStops(ctx, j, src, got)
			return
		}
		if err != nil {
			i.keepPart(ctx, j, src, got)
			i.fetchFailed(ctx, j, n, err)
			return
		}
		if i.park(j, got, src) {
			return
		}
	}
	if i.isUnkept(j) {
		i.keepStops(ctx, j, src, got)
		return
	}
	if !i.enter() {
		i.putBack(j)
		return
	}
	defer i.leave()
	i.settle(ctx, j, src, got)
}

// fetch asks the market once. The place among the fetchers is given back
// before anything is committed, so that a slow disk never keeps a stop from
// being fetched.
func (i *Intake) fetch(ctx context.Context, j *job, n flex.Notice) ([]flex.Instruction, []byte, error) {
	defer func() {
		i.mu.Lock()
		i.fetching--
		if j.tries > 0 {
			i.retrying--
		}
		i.mu.Unlock()
		i.Wake()
	}()
	limit := firstTimeout
	if i.triedFor(j) > 1 {
		limit = fetchTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return i.cfg.Fetcher.Fetch(ctx, n.DataURL)
}

// keepPart admits what came before a reply broke off; the rest is fetched
// again with it.
func (i *Intake) keepPart(ctx context.Context, j *job, src source, got []flex.Instruction) {
	i.mu.Lock()
	stored := j.stored
	i.mu.Unlock()
	if len(got) == 0 || !stored || !i.enter() {
		return
	}
	defer i.leave()
	if err := i.admit(ctx, src, got); err != nil {
		i.log.Error("cannot keep a part of what was notified, trying again", "notification", short(src.id), "error", err)
	}
}

// fetchFailed plans the next try, or gives up when it is too late for one.
func (i *Intake) fetchFailed(ctx context.Context, j *job, n flex.Notice, err error) {
	if ctx.Err() != nil {
		i.mu.Lock()
		j.busy = false
		i.mu.Unlock()
		return
	}
	var retry *flex.RetryError
	var least time.Duration
	if errors.As(err, &retry) {
		least = retry.After
	}
	if hollow(n, err) && i.triedFor(j) > hollowTries {
		i.giveUp(ctx, j, true)
		return
	}
	i.log.Warn("cannot fetch what was notified, trying again", "notification", short(n.ID), "error", err)
	if i.triedFor(j) >= alarmAfter && !hollow(n, err) {
		i.cfg.Health.Raise(CodeInstructionsMissing, short(n.ID),
			fmt.Sprintf("the instructions of notification %s cannot be fetched: %v", short(n.ID), err))
	}
	if i.tooLate(j) {
		i.giveUp(ctx, j, false)
		return
	}
	i.retry(j, least)
}

// hollowTries is how often an address that nobody vouches for is looked at: a
// market may tell of what it shows a moment later.
const hollowTries = 3

// hollow tells that a pointer which anybody may have invented leads nowhere.
// It is no alarm, and worth no more than a few looks; polling finds the rest.
func hollow(n flex.Notice, err error) bool {
	return n.KeyID == flex.UnsignedKey && errors.Is(err, flex.ErrNothingThere)
}

// settle admits what was fetched and closes the notice when it is complete,
// in one commit.
func (i *Intake) settle(ctx context.Context, j *job, src source, got []flex.Instruction) {
	b, err := i.matchInTurn(ctx, src, got)
	src.raw = nil // the batch has it, when it is kept
	full := false
	if err == nil {
		full, err = i.commitFor(ctx, j, b, got)
	}
	switch {
	case err != nil:
		i.log.Error("cannot keep what was fetched, trying again", "notification", short(src.id), "error", err)
		i.retry(j, 0)
	case full:
		i.cfg.Health.Clear(CodeInstructionsMissing, short(src.id))
	case i.tooLate(j):
		i.giveUp(ctx, j, false)
	default:
		i.shortfall(j)
		i.retry(j, 0)
	}
}

// commitFor writes the batch, and the end of the notice when nothing is
// missing. A notice that was delivered again meanwhile stays open on disk.
func (i *Intake) commitFor(ctx context.Context, j *job, b *batch, got []flex.Instruction) (full bool, err error) {
	i.admitMu <- struct{}{}
	defer func() { <-i.admitMu }()
	ch, err := i.changes(b)
	if err != nil {
		return false, err
	}
	if ch, err = i.portions(ctx, ch); err != nil {
		return false, err
	}
	i.mu.Lock()
	for _, in := range got {
		j.ids[in.ID] = struct{}{}
	}
	j.until = later(j.until, sooner(lastEnd(got), j.born.Add(noticeCap)))
	n, again := j.notice, j.again
	fetched := len(j.ids)
	i.mu.Unlock()
	full = fetched >= n.Count
	if full {
		closeNotice(&ch, i.asKept(n), fetched, again, i.cfg.Clock.Stamp())
	}
	if err := i.commit(ctx, b, ch); err != nil {
		return false, err
	}
	if full {
		i.log.Info("notification fetched", "notification", short(n.ID), "instructions", fetched, "new", len(ch.Offers))
		i.finish(j, again)
	}
	return full, nil
}

// asKept takes over what other deliveries added on disk meanwhile.
func (i *Intake) asKept(n flex.Notice) flex.Notice {
	if have, found, err := i.cfg.Book.Notice(n.ID); err == nil && found {
		n.Seen, n.Doors = have.Seen, joinDoors(have.Doors, n.Doors)
	}
	return n
}

// closeNotice adds the last step of the notification's ladder. The step is
// announced once, however often the notice is delivered.
func closeNotice(ch *flex.Changes, n flex.Notice, fetched int, again bool, st flex.Stamp) {
	first := !n.Again
	n.State, n.Fetched, n.Reason = flex.NoticeFetched, fetched, ""
	if first {
		ch.Outbox = append(ch.Outbox, ackOf(n, flex.NoticeFetched, st))
		ch.Audit = append(ch.Audit, flex.Audit{At: st, What: "notice.fetched", Subject: string(n.ID), By: "market",
			Text: fmt.Sprintf("%d instruction(s)", fetched)})
	}
	if again {
		n.State, n.Again = flex.NoticeVerified, true
	}
	ch.Notices = append(ch.Notices, n)
}

// shortfall says what is missing.
func (i *Intake) shortfall(j *job) {
	i.mu.Lock()
	n, have := j.notice, len(j.ids)
	i.mu.Unlock()
	i.log.Warn("fewer instructions than announced, trying again", "notification", short(n.ID), "have", have, "announced", n.Count)
	if i.triedFor(j) >= alarmAfter {
		i.cfg.Health.Raise(CodeInstructionsMissing, short(n.ID),
			fmt.Sprintf("notification %s announced %d instruction(s), the market lists %d", short(n.ID), n.Count, have))
	}
}

// giveUp closes a notice that can concern nothing any more; quietly where
// nobody vouched for it.
func (i *Intake) giveUp(ctx context.Context, j *job, quiet bool) {
	i.admitMu <- struct{}{}
	defer func() { <-i.admitMu }()
	st := i.cfg.Clock.Stamp()
	i.mu.Lock()
	n, again, stored := j.notice, j.again, j.stored
	n.Fetched = len(j.ids)
	i.mu.Unlock()
	if again || !stored {
		i.retry(j, refetchGap)
		return
	}
	n = i.asKept(n)
	var ch flex.Changes
	if n.Again || quiet {
		n.State = flex.NoticeFetched
	} else {
		n.State, n.Reason = flex.NoticeInvalid, CodeInstructionsMissing
		ch.Outbox = []flex.Message{ackOf(n, flex.NoticeInvalid, st)}
	}
	ch.Notices = []flex.Notice{n}
	ch.Audit = []flex.Audit{{At: st, What: "notice.given_up", Subject: string(n.ID), By: "flexd",
		Text: fmt.Sprintf("%d of %d instruction(s) were fetched before the last window was over", n.Fetched, n.Count)}}
	ctx, cancel := detached(ctx)
	defer cancel()
	if err := i.cfg.Book.Commit(ctx, ch); err != nil {
		i.log.Error("cannot close a notification", "notification", short(n.ID), "error", err)
		i.retry(j, backoffMax)
		return
	}
	level := slog.LevelError
	if quiet {
		level = slog.LevelInfo
	}
	i.log.Log(ctx, level, "a notification is given up, not everything could be fetched", "notification", short(n.ID), "have", n.Fetched, "announced", n.Count)
	i.cfg.Health.Clear(CodeInstructionsMissing, short(n.ID))
	i.finish(j, false)
}

func (i *Intake) tooLate(j *job) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return time.Now().After(j.until)
}

func (i *Intake) triedFor(j *job) int {
	i.mu.Lock()
	defer i.mu.Unlock()
	return j.tries + 1
}

// clearRefused takes the notice of refusals back once none came for an hour.
func (i *Intake) clearRefused(now time.Time) {
	i.mu.Lock()
	quiet := !i.refusedAt.IsZero() && now.Sub(i.refusedAt) > refusedQuiet
	if quiet {
		i.refusedAt = time.Time{}
	}
	i.mu.Unlock()
	if quiet {
		i.cfg.Health.Clear(CodeNotificationRefused, "")
		i.cfg.Health.Clear(CodeTooMany, "")
	}
}

// lastEnd is when the last of the windows ends; an open one counts as a day.
func lastEnd(ins []flex.Instruction) time.Time {
	var last time.Time
	for _, in := range ins {
		end := in.Window.End
		if in.Window.Open() && !in.Window.Start.IsZero() {
			end = in.Window.Start.Add(noticeMaxLife)
		}
		last = later(last, end)
	}
	return last
}
