package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"

	"flexd/agent/flex"
)

var errGeneration = errors.New("the acknowledgement belongs to an older connection")

// pump carries rows from the outbox to the broker: at most a window of them
// without PUBACK, each once per connection, each stream in order.
type pump struct {
	s       *session
	lanes   []*lane
	flights []flight // in the order of their publishing

	stateBody, birthBody []byte // as last published
	stateAt              time.Time
}

// flight is a publish without PUBACK. lane is nil for state and birth.
type flight struct {
	token mqtt.Token
	lane  *lane
	seq   uint64
	until time.Time
}

// newPump orders the lanes by what must arrive first: what is behind of the
// telemetry comes last, and of it the newest first.
func newPump(s *session) *pump {
	p := &pump{s: s}
	for _, stream := range []flex.Stream{flex.StreamAck, flex.StreamEvent, flex.StreamTele, flex.StreamResp} {
		if stream != flex.StreamTele {
			p.lanes = append(p.lanes, s.f.outboxLane(stream))
		} else if s.f.cfg.Series != nil {
			p.lanes = append(p.lanes, s.f.seriesLane(s.f.cfg.Series.After, s.f.cfg.Series.Newest()))
		}
	}
	if s.f.cfg.Series != nil {
		live := p.lanes[2]
		p.lanes = append(p.lanes, s.f.seriesLane(s.f.cfg.Series.Before, live.last+1))
	}
	return p
}

func (f *Fleet) outboxLane(stream flex.Stream) *lane {
	out := f.cfg.Outbox
	return &lane{stream: stream, more: true, most: laneMax, log: f.cfg.Log,
		rows: func(ctx context.Context, behind uint64, n int) ([]flex.Message, error) {
			return out.After(ctx, stream, behind, n)
		},
		done: func(ctx context.Context, rows []row) error { return out.Done(ctx, stream, rows[len(rows)-1].seq) }}
}

func (f *Fleet) seriesLane(rows func(context.Context, uint64, int) ([]flex.Message, error), from uint64) *lane {
	return &lane{stream: flex.StreamTele, more: true, most: seriesMax, any: true, log: f.cfg.Log, rows: rows, last: from,
		done: func(_ context.Context, rows []row) error {
			seqs := make([]uint64, len(rows))
			for i, r := range rows {
				seqs[i] = r.seq
			}
			f.cfg.Series.Done(seqs...)
			return nil
		}}
}

// run serves until the session or ctx ends, and tells why.
func (p *pump) run(ctx context.Context) error {
	limit := p.s.f.limit
	poll, state, birth := time.NewTicker(limit.poll), time.NewTicker(limit.state), time.NewTicker(limit.birth)
	defer poll.Stop()
	defer state.Stop()
	defer birth.Stop()
	for {
		if err := p.turn(ctx); err != nil {
			return err
		}
		var answered <-chan struct{}
		if len(p.flights) > 0 {
			answered = p.flights[0].token.Done()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.s.ctx.Done():
			return context.Cause(p.s.ctx)
		case <-answered:
		case <-p.s.f.wake:
			p.look()
		case <-poll.C:
			p.look()
		case <-state.C:
			p.refreshState()
			p.tellGroup()
		case <-birth.C:
			p.refreshBirth()
		}
	}
}

// turn takes what was acknowledged, frees it, and sends what fits. A backend
// that lost what the broker took gets it again only on another connection.
func (p *pump) turn(ctx context.Context) error {
	if err := p.collect(); err != nil {
		return err
	}
	p.grants()
	p.free(ctx)
	for _, l := range p.lanes {
		if l.stalled(p.s.f.limit.stall) {
			return fmt.Errorf("%d rows of %s are without acknowledgement for %s: connecting anew to send them again",
				len(l.out), l.stream, p.s.f.limit.stall)
		}
	}
	p.fill(ctx)
	return nil
}

// look has every lane ask its outbox again.
func (p *pump) look() {
	for _, l := range p.lanes {
		l.more = true
	}
}

// collect takes the acknowledged flights from the front (brokers answer in
// order, MQTT 3.1.1, 4.6).
func (p *pump) collect() error {
	for len(p.flights) > 0 {
		f := p.flights[0]
		select {
		case <-f.token.Done():
		default:
			if time.Now().After(f.until) {
				return fmt.Errorf("no PUBACK within %s: %w", p.s.f.limit.token, errToken)
			}
			return nil
		}
		if err := context.Cause(p.s.ctx); err != nil {
			return err // the token may be the library tidying up, not the broker's word
		}
		if err := f.token.Error(); err != nil {
			return fmt.Errorf("cannot publish: %w", err)
		}
		if !p.s.f.current(p.s.generation) {
			return errGeneration
		}
		if f.lane != nil {
			f.lane.answered(f.seq)
		}
		p.flights = p.flights[1:]
	}
	return nil
}

// free deletes the rows that are acknowledged by whoever counts.
func (p *pump) free(ctx context.Context) {
	for _, l := range p.lanes {
		if n := l.free(ctx, p.s.f.cfg.BackendAcks); n > 0 {
			p.s.f.count(0, n)
		}
	}
}

// grants takes what the backend has acknowledged of what is out on this
// connection: no word of its frees what was never sent.
func (p *pump) grants() {
	for _, g := range p.s.grants.take() {
		known := false
		for _, l := range p.lanes {
			if l.stream == g.Stream {
				known = l.granted(g) || known
			}
		}
		if !known {
			p.s.f.cfg.Log.Debug("an acknowledgement of nothing that is out is ignored", "stream", g.Stream, "epoch", g.Epoch, "upto", g.Upto)
		}
	}
}

// fill publishes until the window is full, the first lanes first.
func (p *pump) fill(ctx context.Context) {
	for _, l := range p.lanes {
		for len(p.flights) < window {
			m, ok := l.next(ctx)
			if !ok {
				break
			}
			p.fly(l, m.Seq, p.s.publish(l.stream, false, p.s.f.flat(m)))
			p.s.f.count(1, 0)
		}
	}
}

func (p *pump) fly(l *lane, seq uint64, token mqtt.Token) {
	p.flights = append(p.flights, flight{token: token, lane: l, seq: seq, until: time.Now().Add(p.s.f.limit.token)})
}

// refreshState publishes the state when it changed, and now and then anyway.
func (p *pump) refreshState() {
	f := p.s.f
	body := f.marshal("state", f.cfg.State)
	if bytes.Equal(body, p.stateBody) && time.Since(p.stateAt) < f.limit.refresh {
		return
	}
	p.stateBody, p.stateAt = body, time.Now()
	p.fly(nil, 0, p.s.publish(streamState, true, f.stateMessage("online", body)))
}

// refreshBirth publishes the birth when it changed: devices come up late.
func (p *pump) refreshBirth() {
	f := p.s.f
	body := f.marshal("birth", f.cfg.Birth)
	if bytes.Equal(body, p.birthBody) {
		return
	}
	p.birthBody = body
	p.fly(nil, 0, p.s.publish(streamBirth, true, f.flat(f.fresh(streamBirth, body))))
}
