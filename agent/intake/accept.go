package intake

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// Accept verifies one raw notification and puts it on disk. It returns nil
// only when it is there; *flex.Refusal when it was judged and is refused; any
// other error when it could not be judged or stored and should come again.
func (i *Intake) Accept(ctx context.Context, env flex.Envelope) error {
	sum := sha256.Sum256(env.Body)
	hash := hex.EncodeToString(sum[:])
	n, err := i.cfg.Verifier.Verify(ctx, env)
	if err != nil {
		err = i.forgers.judged(env, err, time.Now())
		return i.unverified(env, hash, err)
	}
	if n.ID == "" || n.DataURL == "" {
		return i.unverified(env, hash, flex.Refuse(flex.ReasonMalformed, "the notification names no data to fetch"))
	}
	if err := i.afford(n, env); err != nil {
		return err
	}
	st := i.cfg.Clock.Stamp()
	n.Door, n.State, n.RawHash = env.Door, flex.NoticeVerified, hash
	n.Received = orNow(env.Received, st)
	n.Doors = []flex.Sighting{{Door: n.Door, At: n.Received}}
	// The fetch starts while the notice is being written: stops act without
	// the disk, everything else waits for the commit.
	i.expect(n)
	ctx, cancel := detached(ctx)
	defer cancel()
	fresh, err := i.cfg.Book.PutNotice(ctx, n, env.Body, noticeChanges(n, st))
	if err != nil {
		i.unkept(n.ID)
		i.cfg.Health.Raise(CodeNotificationUnstored, "", "a notification was verified but could not be stored: "+err.Error())
		return fmt.Errorf("cannot store notification %s, the market has to send it again: %w", short(n.ID), err)
	}
	i.cfg.Health.Clear(CodeNotificationUnstored, "")
	if fresh {
		i.log.Info("notification verified", "notification", short(n.ID), "door", n.Door, "count", n.Count,
			"key", n.KeyID, "bytes", len(env.Body))
		i.stored(n)
		return nil
	}
	return i.repeated(ctx, n)
}

// unverified records that a body was not accepted: its hash and size, and a
// copy in the folder for refused bodies.
func (i *Intake) unverified(env flex.Envelope, hash string, err error) error {
	refusal, final := flex.RefusalOf(err)
	if !final || refusal.Reason == flex.ReasonNoKey {
		i.log.Warn("a notification cannot be judged now, the market is asked to send it again",
			"door", env.Door, "sha256", hash, "bytes", len(env.Body), "error", err)
		return err
	}
	i.mu.Lock()
	i.nRefused++
	count := i.nRefused
	i.refusedAt = time.Now()
	i.mu.Unlock()
	i.log.Warn("notification refused", "door", env.Door, "reason", refusal.Reason, "sha256", hash, "bytes", len(env.Body))
	i.cfg.Health.Raise(CodeNotificationRefused, "",
		fmt.Sprintf("%d refused since the start, the last for %s (sha256 %.12s, %d bytes)", count, refusal.Reason, hash, len(env.Body)))
	i.refused.keep(env, hash, refusal, time.Now())
	if refusal.Reason == flex.ReasonMovedURL { // until somebody changes the configuration
		i.cfg.Health.Raise(CodeMarketMoved, "", refusal.Text+"; until then such notifications are refused, and instructions are found by reading the list")
		if i.cfg.PollNow != nil {
			i.cfg.PollNow()
		}
	}
	return err
}

// noticeChanges is what goes to disk with a fresh notice.
func noticeChanges(n flex.Notice, st flex.Stamp) flex.Changes {
	at := st
	at.At = n.Received
	return flex.Changes{
		Audit: []flex.Audit{{At: st, What: "notice.verified", Subject: string(n.ID), By: "market",
			Text: fmt.Sprintf("by %s, %d instruction(s) announced, key %q", n.Door, n.Count, n.KeyID)}},
		Outbox: []flex.Message{
			ackOf(n, flex.NoticeNotified, at),
			ackOf(n, flex.NoticeVerified, st),
		},
	}
}

// ackOf announces one step of the notification's ladder.
func ackOf(n flex.Notice, state flex.NoticeState, st flex.Stamp) flex.Message {
	// Only strings, numbers and times: this cannot fail.
	body, _ := json.Marshal(flex.Ack{Notification: n.ID, State: string(state), Reason: n.Reason, FactAt: st.At})
	return flex.Message{Stream: flex.StreamAck, At: st.At, Clock: st.Clock, Schema: "ack/1", Body: body}
}

// repeated sees to it that a notice which was delivered again is fetched
// again. One that was closed is opened on disk first, so that a crash between
// our 2xx and the fetch loses nothing.
func (i *Intake) repeated(ctx context.Context, n flex.Notice) error {
	i.log.Info("notification delivered again", "notification", short(n.ID), "door", n.Door)
	// Whoever sends it again must not wait behind what is being admitted: one
	// that is open is fetched anyway, and one that is done nobody else writes.
	if i.stillOpen(n.ID) {
		return nil
	}
	have, found, err := i.cfg.Book.Notice(n.ID)
	if err != nil {
		return fmt.Errorf("cannot read notification %s back: %w", short(n.ID), err)
	}
	if !found {
		have = n
	}
	if have.State != flex.NoticeVerified {
		have.Again, have.State, have.Reason, have.Fetched = true, flex.NoticeVerified, "", 0
		if err := i.cfg.Book.Commit(ctx, flex.Changes{Notices: []flex.Notice{have}}); err != nil {
			i.forget(n.ID)
			return fmt.Errorf("cannot open notification %s again: %w", short(n.ID), err)
		}
	}
	i.stored(have)
	return nil
}
