package fleet

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"flexd/agent/flex"
)

// Outbox holds the messages to deliver, oldest first per stream, until they
// are done.
type Outbox interface {
	After(ctx context.Context, stream flex.Stream, seq uint64, n int) ([]flex.Message, error)
	Done(ctx context.Context, stream flex.Stream, upto uint64) error
}

// Series holds the telemetry rows to deliver. What is newer than Newest when a
// connection begins is sent as it comes; what is not, behind it, newest first.
type Series interface {
	Newest() uint64
	After(ctx context.Context, seq uint64, n int) ([]flex.Message, error)  // oldest first
	Before(ctx context.Context, seq uint64, n int) ([]flex.Message, error) // newest first
	Done(seqs ...uint64)
}

// Config is what the session needs. State and Birth give values that marshal
// to JSON objects; they are called often and must not block.
type Config struct {
	Site   string // client id, and the part of every topic after the prefix
	Broker string // mqtts://host:port, or mqtt://host:port

	CAFile, CertFile, KeyFile string // "": system roots, no client certificate

	BackendAcks bool   // rows are freed by down/ack alone, not by the broker
	Session     uint64 // number of this run of the agent, in every message
	Epoch       string // of the file that counts the sessions

	Outbox Outbox
	Series Series
	State  func() any
	Birth  func() any
	// Contested is told that connections are taken away again and again right
	// after they stood, as by another client of the same id, and that they no
	// longer are; nil: nobody is told.
	Contested func(bool)
	Stamp     func() flex.Stamp
	CertAt    func() time.Time // when the broker's certificate is judged; nil: now
	Log       *slog.Logger

	// Siblings compares what sites of one group go by; nil: it is in none.
	Siblings Siblings
	Group    string

	// Relay takes what relays publish; nil: down/relay is answered as
	// unsupported. Shared names a topic of several sites to listen to as well.
	Relay  Relay
	Shared string
}

// Relay takes the envelopes of relays, one call at a time. Take gives nil once
// an envelope is done with, on disk or refused for good: only then it is
// acknowledged. With an error it stays unacknowledged and comes again, after
// the wait of a flex.RetryError if that is one. Missed tells that envelopes
// may have been lost: the connection is new, or one was given up.
type Relay interface {
	Take(ctx context.Context, payload []byte) error
	Missed(why string)
}

// Siblings tells the group something about this site, nil for nothing now, and
// hears what another one tells. Neither blocks.
type Siblings interface {
	Say() []byte
	Hear(site string, payload []byte)
}

// Status tells how the session is doing.
type Status struct {
	Connected bool      `json:"connected"`
	Since     time.Time `json:"since"` // of the present word, connected or not
	LastError string    `json:"last_error,omitempty"`
	Attempts  int       `json:"attempts"`  // connections tried since the last one that held
	Published uint64    `json:"published"` // rows, repeats included
	Freed     uint64    `json:"freed"`     // rows deleted after their acknowledgement
}

// Fleet keeps one session with the broker at a time.
type Fleet struct {
	cfg   Config
	limit limits
	ready chan struct{}
	once  sync.Once
	wake  chan struct{}

	mu         sync.Mutex
	status     Status
	generation uint64
}

// New builds the session; Run starts it.
func New(cfg Config) *Fleet {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Fleet{
		cfg: cfg, limit: defaults(), ready: make(chan struct{}), wake: make(chan struct{}, 1),
		status: Status{Since: time.Now().UTC()},
	}
}

// Name is the task's name.
func (f *Fleet) Name() string { return "fleet" }

// Ready closes when the loop has begun: a broker that is away does not hold up
// the start of the agent.
func (f *Fleet) Ready() <-chan struct{} { return f.ready }

// Status tells how the session is doing.
func (f *Fleet) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Wake has the outbox drained now. Without it new rows are seen at the next
// poll.
func (f *Fleet) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Run keeps the session up until ctx ends.
func (f *Fleet) Run(ctx context.Context) error {
	f.once.Do(func() { close(f.ready) })
	taken := 0
	for failures := 0; ; failures++ {
		f.trying()
		up, err := f.connection(ctx)
		f.down(err)
		if ctx.Err() != nil {
			return nil
		}
		taken = f.contest(taken, up, err)
		if up >= f.limit.clean {
			failures = 0
		}
		pause := f.limit.pause(failures)
		f.cfg.Log.Info("the fleet's broker is not connected", "broker", f.cfg.Broker, "error", err, "retry_in", pause)
		if !sleep(ctx, pause) {
			return nil
		}
	}
}

// mostTaken is how many connections in a row are lost soon after they stood
// before somebody is told: a broker that restarts takes one or two.
const mostTaken = 4

// contest counts connections that the broker ended soon after they stood,
// which is how it makes room for another client of the same id (MQTT 3.1.1,
// 3.1.4). One that lasted ends the count.
func (f *Fleet) contest(taken int, up time.Duration, err error) int {
	switch {
	case up >= f.limit.contest:
		taken = 0
	case up > 0 && errors.Is(err, errLost):
		taken++
	}
	if f.cfg.Contested != nil {
		f.cfg.Contested(taken >= mostTaken)
	}
	return taken
}

// trying begins a new generation: acknowledgements of older ones are void.
func (f *Fleet) trying() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation++
	f.status.Attempts++
}

// connected notes that the session is announced and subscribed.
func (f *Fleet) connected() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Connected, f.status.Since, f.status.Attempts, f.status.LastError = true, time.Now().UTC(), 0, ""
}

// down ends the generation.
func (f *Fleet) down(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.generation++
	if f.status.Connected {
		f.status.Connected, f.status.Since = false, time.Now().UTC()
	}
	if err != nil {
		f.status.LastError = err.Error()
	}
}

// current tells whether a generation is still the present one.
func (f *Fleet) current(generation uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.generation == generation
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
		return true
	}
}
