package dispatch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// ledger is a store in memory that can fail and hang.
type ledger struct {
	machine *clocktest.Source // it outlives the process as well

	mu     sync.Mutex
	offers []flex.Offer
	recs   map[flex.InstructionID]flex.Record
	tombs  map[flex.InstructionID]flex.Tombstone
	holds  map[flex.AssetID]flex.Hold
	away   map[string]flex.Unavailability
	acks   []flex.Ack
	events []flex.Event
	audit  int
	fail   error
	// fragile: after so many more commits the process is as good as dead.
	fragile bool
	left    int
	commits int
	gate    chan struct{} // when set, Commit waits for it
	slow    time.Duration // of every commit
	read    int           // offers that were read, every time counted
}

func newLedger() *ledger {
	return &ledger{recs: map[flex.InstructionID]flex.Record{}, tombs: map[flex.InstructionID]flex.Tombstone{}, holds: map[flex.AssetID]flex.Hold{}, away: map[string]flex.Unavailability{}}
}

func (l *ledger) Competitions(context.Context) ([]flex.Competition, error) { return nil, nil }

func (l *ledger) Unavailable(context.Context) (out []flex.Unavailability, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, u := range l.away {
		out = append(out, u)
	}
	return out, nil
}

func (l *ledger) OwedAnswers(context.Context) (out []flex.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.recs {
		if r.Answer.Owed() {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b flex.Record) int { return strings.Compare(string(a.ID), string(b.ID)) })
	return out, nil
}

func (l *ledger) set(fn func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fn()
}

func (l *ledger) offer(o flex.Offer, seq uint64) {
	l.set(func() { o.Seq = seq; l.offers = append(l.offers, o) })
}

func (l *ledger) Undecided(_ context.Context, known []flex.Offer) ([]flex.Offer, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	have := map[uint64]bool{}
	for _, o := range known {
		have[o.Seq] = true
	}
	for _, o := range l.offers {
		if !have[o.Seq] {
			l.read++
		}
	}
	return slices.SortedFunc(slices.Values(l.offers), func(a, b flex.Offer) int { return cmp.Compare(a.Seq, b.Seq) }), nil
}

func (l *ledger) Record(_ context.Context, id flex.InstructionID) (flex.Record, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	r, ok := l.recs[id]
	return r, ok, nil
}

func (l *ledger) Tombstone(_ context.Context, id flex.InstructionID) (flex.Tombstone, bool, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t, ok := l.tombs[id]
	return t, ok, nil
}

func (l *ledger) OpenRecords(context.Context) (out []flex.Record, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.recs {
		if !r.State.Final() {
			out = append(out, r)
		}
	}
	return out, nil
}

func (l *ledger) Holds(context.Context) (out []flex.Hold, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.holds {
		out = append(out, h)
	}
	return out, nil
}

func (l *ledger) Commit(ctx context.Context, ch flex.Changes) error {
	l.mu.Lock()
	gate, slow := l.gate, l.slow
	l.mu.Unlock()
	time.Sleep(slow)
	if gate != nil {
		<-gate
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		return l.fail
	}
	if l.fragile && l.left == 0 {
		return errors.New("the process is dead")
	}
	l.left--
	l.commits++
	l.offers = slices.DeleteFunc(l.offers, func(o flex.Offer) bool { return slices.Contains(ch.Decided, o.Seq) })
	for _, r := range ch.Records {
		l.recs[r.ID] = r
	}
	for _, t := range ch.Tombstones {
		l.tombs[t.ID] = t
	}
	for _, h := range ch.Holds {
		l.holds[h.Asset] = h
	}
	for _, a := range ch.HoldsGone {
		delete(l.holds, a)
	}
	for _, u := range ch.Unavailable {
		l.away[u.ID] = u
	}
	for _, o := range ch.Offers {
		o.Seq = 1000 + uint64(l.commits)
		l.offers = append(l.offers, o)
	}
	l.audit += len(ch.Audit)
	for _, m := range ch.Outbox {
		var a flex.Ack
		var ev flex.Event
		if m.Stream == flex.StreamAck && json.Unmarshal(m.Body, &a) == nil {
			l.acks = append(l.acks, a)
		}
		if m.Stream == flex.StreamEvent && json.Unmarshal(m.Body, &ev) == nil {
			l.events = append(l.events, ev)
		}
	}
	return nil
}

// down tells that the process has died.
func (l *ledger) down() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fragile && l.left == 0
}

func (l *ledger) rec(id flex.InstructionID) flex.Record {
	r, _, _ := l.Record(context.Background(), id)
	return r
}

func (l *ledger) counts() (recs, holds, events int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.recs), len(l.holds), len(l.events)
}

func (l *ledger) said(id flex.InstructionID) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, a := range l.acks {
		if a.Instruction == id {
			s := a.State
			for _, c := range a.Conditions {
				s += "+" + string(c)
			}
			out = append(out, s)
		}
	}
	return strings.Join(out, " ")
}

// hands is a control whose devices obey at once, unless stuck.
type hands struct {
	board *Board
	mu    sync.Mutex
	seen  map[flex.InstructionID]flex.Progress
	stuck bool
	blind bool // knows of nothing
	extra func(*flex.Progress)
}

func (h *hands) Progress() map[flex.InstructionID]flex.Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.blind {
		return nil
	}
	now := time.Now().UTC()
	for _, d := range h.board.Running() {
		p := h.seen[d.ID]
		switch {
		case d.Wants(now):
			p.Engaged, p.Released = true, false
			if p.EchoAt.IsZero() {
				p.FirstWrite, p.EchoAt = now, now
			}
		case h.stuck && p.Engaged:
		case !p.Released:
			p.Engaged, p.Released, p.ReleasedAt = false, true, now
		}
		if h.extra != nil {
			h.extra(&p)
		}
		h.seen[d.ID] = p
	}
	out := map[flex.InstructionID]flex.Progress{}
	for id, p := range h.seen {
		out[id] = p
	}
	return out
}

// alarms counts what is raised.
type alarms struct {
	mu sync.Mutex
	on map[string]bool
}

func (a *alarms) Raise(code, subject, _ string) { a.put(code+":"+subject, true) }
func (a *alarms) Clear(code, subject string)    { a.put(code+":"+subject, false) }
func (a *alarms) put(key string, on bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.on[key] = on
}
func (a *alarms) is(key string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.on[key]
}

// rig is an Engine with everything around it, inside a bubble.
type rig struct {
	led    *ledger
	board  *Board
	hands  *hands
	alarms *alarms
	eng    *Engine
	end    func()
	cfg    Config // what a test adds to it
	teller Teller
}

func newRig(t *testing.T, led *ledger, wall Wall, before ...func(*rig)) *rig {
	r := &rig{led: led, board: NewBoard(), alarms: &alarms{on: map[string]bool{}}}
	r.hands = &hands{board: r.board, seen: map[flex.InstructionID]flex.Progress{}}
	if wall == nil {
		if led.machine == nil {
			led.machine = clocktest.New(true)
		}
		wall = clock.New(led.machine, time.Time{})
	}
	for _, fn := range before {
		fn(r)
	}
	r.cfg.Ledger, r.cfg.Progress, r.cfg.Board, r.cfg.Wall, r.cfg.Health = led, r.hands, r.board, wall, r.alarms
	r.cfg.Log = slog.New(slog.NewTextHandler(io.Discard, nil))
	r.eng = NewEngine(r.cfg)
	if err := r.eng.Recover(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	runs := []func(context.Context) error{r.eng.Run}
	if r.cfg.Market != nil {
		said := NewAnswers(AnswersConfig{Engine: r.eng, Owings: led, Market: r.cfg.Market, Teller: r.teller, Wall: wall, Log: r.cfg.Log})
		runs = append(runs, said.Run)
	}
	for _, run := range runs {
		go func() { done <- run(ctx) }()
	}
	r.end = func() {
		cancel()
		for range runs {
			if err := <-done; err != nil {
				t.Errorf("run ended: %v", err)
			}
		}
	}
	<-r.eng.Ready()
	return r
}

// soon is a good start of a minute that begins in the given time.
func soon(id flex.InstructionID, in time.Duration) flex.Offer {
	now := time.Now().UTC()
	return offer(func(o *flex.Offer) {
		o.Received = stampAt(now)
		o.Obligation.StartTime, o.Obligation.EndTime = 0, 24*time.Hour
		o.Instruction.ID, o.Instruction.Content = id, string(id)
		o.Instruction.Window = flex.Window{Start: now.Add(in), End: now.Add(in + time.Minute)}
	})
}

func (r *rig) take(o flex.Offer, seq uint64) {
	r.led.offer(o, seq)
	r.eng.Wake()
	synctest.Wait()
}

func (r *rig) stopAt(id flex.InstructionID) time.Time {
	for _, d := range r.board.Running() {
		if d.ID == id {
			return d.StopAt
		}
	}
	return time.Time{}
}
