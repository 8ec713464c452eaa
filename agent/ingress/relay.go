package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"flexd/agent/flex"
)

// Bounds of the relay door.
const (
	maxRelays = 64 // relays that are followed at once, by topic

	// relayEach is how fast envelopes go to intake; what comes faster waits in
	// the broker. 5,000 in a minute pass without waiting.
	relayEach  = 100
	relayBurst = 200

	// Failures a second, of one relay and of all: beyond them envelopes are
	// dropped unread, and polling has to find what was among them.
	relayFailEach  = 5
	relayFailAll   = 20
	relayFailBurst = 4 // seconds' worth

	// A relay says every 30 s how far it has counted; two and a half of these
	// without a word and something may be lost.
	relaySilence = 75 * time.Second
	// relayRest is the least time between two calls of Gap, after the first
	// few: a relay that counts wildly must not use up the market's patience.
	relayRest     = 20 * time.Second
	relayGapBurst = 3
	relayTick     = time.Second
)

// RelayConfig says what the relay door needs. Intake, Topics, Gap and Log are
// mandatory.
type RelayConfig struct {
	Intake Intake
	Topics []string // those that this site listens to
	// Gap is told that something may be missing: poll. It must not block.
	Gap func()
	Log *slog.Logger
}

// RelayDoor takes what relays publish on the broker. A relay is not trusted:
// it can delay, drop, repeat and reorder, and whatever it makes up or changes
// fails where every notification is verified. Its numbers serve one purpose:
// to notice early that something was lost. It is the task "relay-door".
type RelayDoor struct {
	cfg   RelayConfig
	log   *slog.Logger
	pace  *rate.Limiter
	fails *rate.Limiter
	gaps  *rate.Limiter
	wake  chan struct{}
	ready chan struct{}
	once  sync.Once

	mu     sync.Mutex
	relays map[relayKey]*relayTrack
	status RelayStatus
}

// RelayStatus tells how the relay door is doing.
type RelayStatus struct {
	Last       time.Time   `json:"last,omitzero"` // envelope that was a request
	Relays     []RelaySeen `json:"relays,omitempty"`
	Taken      uint64      `json:"taken"`      // handed on and on disk
	Repeated   uint64      `json:"repeated"`   // taken before, by relay and number
	Refused    uint64      `json:"refused"`    // not authentic, or not a notification
	Malformed  uint64      `json:"malformed"`  // not an envelope, or for another site
	Limited    uint64      `json:"limited"`    // dropped unread after too many failures
	PutOff     uint64      `json:"put_off"`    // cannot be judged or stored now
	Gaps       uint64      `json:"gaps"`       // times that something may have been lost
	Reconnects uint64      `json:"reconnects"` // of the broker's connection, the first included
}

// RelaySeen is one relay on one topic.
type RelaySeen struct {
	ID      string    `json:"id"`
	To      string    `json:"to"`
	Seq     uint64    `json:"seq"`     // highest number heard
	Missing uint64    `json:"missing"` // numbers that did not come in time
	Heard   time.Time `json:"heard"`
	Silent  bool      `json:"silent,omitempty"`
}

// NewRelayDoor builds the door; Run has it notice what is missing.
func NewRelayDoor(cfg RelayConfig) *RelayDoor {
	return &RelayDoor{
		cfg: cfg, log: cfg.Log, relays: map[relayKey]*relayTrack{},
		pace:  rate.NewLimiter(relayEach, relayBurst),
		fails: rate.NewLimiter(relayFailAll, relayFailAll*relayFailBurst),
		gaps:  rate.NewLimiter(rate.Every(relayRest), relayGapBurst),
		wake:  make(chan struct{}, 1), ready: make(chan struct{}),
	}
}

// Name is the task's name.
func (d *RelayDoor) Name() string { return "relay-door" }

// Ready closes once gaps are told.
func (d *RelayDoor) Ready() <-chan struct{} { return d.ready }

// Status tells how the door is doing.
func (d *RelayDoor) Status() RelayStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.status
	for key, t := range d.relays {
		s.Relays = append(s.Relays, RelaySeen{ID: key.id, To: key.to, Seq: t.seq, Missing: t.missing, Heard: t.heard, Silent: t.silent})
	}
	slices.SortFunc(s.Relays, func(a, b RelaySeen) int { return b.Heard.Compare(a.Heard) })
	return s
}

// Run tells Gap, and notices relays that fell silent, until ctx ends.
func (d *RelayDoor) Run(ctx context.Context) error {
	d.once.Do(func() { close(d.ready) })
	tick := time.NewTicker(relayTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			d.look(now)
		case <-d.wake:
			if d.gaps.Wait(ctx) != nil {
				return nil
			}
			// What was asked for meanwhile is the same poll.
			select {
			case <-d.wake:
			default:
			}
			d.cfg.Gap()
		}
	}
}

// Missed notes that payloads may have been lost on the way here: the
// connection is new, or one was given up.
func (d *RelayDoor) Missed(why string) {
	d.mu.Lock()
	d.status.Reconnects++
	d.mu.Unlock()
	d.gap("", why)
}

// Take handles one payload. nil means that it is done with: on disk, or
// refused for good. An error means that it should come again.
func (d *RelayDoor) Take(ctx context.Context, payload []byte) error {
	now := time.Now()
	e, err := ParseRelayEnvelope(payload)
	if err == nil && !slices.Contains(d.cfg.Topics, e.To) {
		err = errors.New("the envelope is for another site")
	}
	if err != nil {
		d.malformed(now, len(payload), err)
		return nil
	}
	verdict := d.follow(e, now)
	if verdict != takeIt {
		return nil
	}
	if err := d.pace.Wait(ctx); err != nil {
		return &flex.RetryError{After: retrySoon, Err: fmt.Errorf("too many envelopes at once: %w", err)}
	}
	err = d.accept(ctx, flex.Envelope{Door: flex.DoorRelay, Received: now.UTC(), Source: e.Relay, Shared: true, Header: e.Header, Body: e.Body})
	return d.judged(e, now, err)
}

// accept has one body verified; a fault in there is not the end of the door.
func (d *RelayDoor) accept(ctx context.Context, env flex.Envelope) (err error) {
	defer func() {
		if f := recover(); f != nil {
			d.log.Error("a fault while a relayed notification was handled", "fault", f, "relay", env.Source)
			err = flex.Refuse(flex.ReasonMalformed, "a fault while it was handled")
		}
	}()
	return d.cfg.Intake.Accept(ctx, env)
}

// judged counts intake's verdict and turns it into ours.
func (d *RelayDoor) judged(e RelayEnvelope, now time.Time, err error) error {
	refusal, final := flex.RefusalOf(err)
	putOff := err != nil && (!final || refusal.Reason == flex.ReasonNoKey)
	d.mu.Lock()
	t := d.relays[relayKey{e.Relay, e.To}]
	switch {
	case putOff:
		d.status.PutOff++
	case err != nil:
		d.status.Refused++
		d.fails.AllowN(now, 1)
		if t != nil {
			t.fails.AllowN(now, 1)
		}
	default:
		d.status.Taken++
		if t != nil {
			t.mark(e.Seq)
		}
	}
	d.mu.Unlock()
	if putOff {
		return err
	}
	if err != nil {
		d.log.Warn("a relayed notification is refused", "relay", e.Relay, "seq", e.Seq, "reason", refusal.Reason, "bytes", len(e.Body))
	}
	return nil
}

// malformed counts what is no envelope of ours. It may have been one before
// it was spoilt.
func (d *RelayDoor) malformed(now time.Time, size int, err error) {
	d.mu.Lock()
	d.status.Malformed++
	tell := d.fails.AllowN(now, 1)
	d.mu.Unlock()
	if tell {
		d.log.Warn("a relay envelope is refused", "error", err, "bytes", size)
	}
	d.gap("", "an envelope could not be read")
}

// gap asks for a poll.
func (d *RelayDoor) gap(relay, why string) {
	d.mu.Lock()
	d.status.Gaps++
	d.mu.Unlock()
	select {
	case d.wake <- struct{}{}:
		d.log.Info("something may have been lost on the way from a relay: polling", "relay", relay, "why", why)
	default: // asked for already
	}
}
