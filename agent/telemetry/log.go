package telemetry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"flexd/agent/flex"
	"flexd/agent/health"
	"flexd/store/series"
)

// When batches go to the file, and how many bytes of them wait in memory while
// it cannot be written.
const (
	keepEvery = 10 * time.Minute
	keepLeast = 50 * time.Second // between two commits that a short interval would have
	mostAhead = 1 << 20
	mostStuck = 4 << 20
)

// fleetMark is the fleet's cursor in the file.
const fleetMark = "fleet"

// Codes of health items.
const (
	CodeNotKept     = "telemetry_not_kept"
	CodeUndelivered = "telemetry_undelivered"
)

// Items declares what this room raises.
func Items() []health.Item {
	return []health.Item{
		{Code: CodeNotKept, Severity: health.Warning, Title: "Telemetry cannot be kept"},
		{Code: CodeUndelivered, Severity: health.Warning, Title: "Telemetry made room before the fleet had it"},
	}
}

// Health takes alarms.
type Health interface {
	Raise(code, subject, text string)
	Clear(code, subject string)
}

// Config is what a Log needs. All is required, but for Wake.
type Config struct {
	Interval time.Duration              // of one batch
	Open     func() (*series.DB, error) // tried again until it succeeds
	Fleet    bool                       // there is a fleet to deliver to
	Running  func() bool                // a dispatch runs
	Stamp    func() flex.Stamp
	Wake     func() // there is something to deliver
	Health   Health
	Log      *slog.Logger
}

// Log keeps telemetry. It is safe for concurrent use.
type Log struct {
	cfg      Config
	recorder *recorder
	bound    chan struct{} // a dispatch begins or ends

	flushing sync.Mutex // one at a time writes
	kept     time.Time  // when the file last took all; flushing is held
	mark     []byte     // the fleet's cursor as it is in the file; flushing is held

	mu   sync.Mutex
	ring *series.DB   // nil while it cannot be opened
	mem  []series.Row // in no file yet, rising
	open spans        // what the fleet has not taken
	lost uint64       // batches that made room before the fleet had them
}

// New makes a Log and opens its file.
func New(cfg Config) *Log {
	if cfg.Wake == nil {
		cfg.Wake = func() {}
	}
	l := &Log{cfg: cfg, recorder: newRecorder(), bound: make(chan struct{}, 1), kept: time.Now()}
	l.reopen()
	return l
}

// reopen opens the file, and takes up the fleet's cursor.
func (l *Log) reopen() {
	ring, err := l.cfg.Open()
	if err != nil {
		l.cfg.Health.Raise(CodeNotKept, "", fmt.Sprintf("%v: nothing measured is kept or sent meanwhile, it is tried again with every batch; look at the disk and at the data folder's owner", err))
		return
	}
	open, err := cursor(ring)
	if err != nil {
		l.cfg.Log.Warn("what the fleet has of the telemetry is not known: it is sent again", "error", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ring, l.open = ring, open
}

// cursor is what the fleet has not taken: what it is said to lack, and all that
// came after that was said.
func cursor(ring *series.DB) (spans, error) {
	low, high, err := ring.Bounds()
	if err != nil || high == 0 {
		return nil, err
	}
	raw, err := ring.Mark(fleetMark)
	if err != nil || raw == nil {
		return spans{{low, high}}, err
	}
	open, upto, err := decodeSpans(raw)
	if err != nil {
		return spans{{low, high}}, err
	}
	if low > 0 {
		open = open.remove(0, low-1)
	}
	return open.remove(high+1, ^uint64(0)).add(max(low, upto+1), high), nil
}

// Reading takes one sample; it waits for memory alone.
func (l *Log) Reading(r flex.Reading) { l.recorder.reading(r) }

// Boundary tells that a dispatch begins or ends: what was measured so far goes
// to the file at once.
func (l *Log) Boundary() {
	select {
	case l.bound <- struct{}{}:
	default:
	}
}

// Name is the task's name.
func (l *Log) Name() string { return "telemetry" }

// Run cuts a batch per interval and keeps them, and the rest at the end.
func (l *Log) Run(ctx context.Context) error {
	tick := time.NewTicker(l.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			l.take()
			l.flush(context.WithoutCancel(ctx))
			return nil
		case <-l.bound:
			l.take()
			l.flush(ctx)
		case <-l.recorder.full:
			l.turn(ctx)
		case <-tick.C:
			l.turn(ctx)
		}
	}
}

// turn cuts a batch, and keeps what waits when it must not wait longer.
func (l *Log) turn(ctx context.Context) {
	waits := l.behind()
	l.take()
	age := time.Since(l.kept)
	if (waits || l.cfg.Running()) && age >= keepLeast || age >= keepEvery || l.ahead() > mostAhead {
		l.flush(ctx)
	}
}

// behind tells whether the fleet has not taken what is in memory.
func (l *Log) behind() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.mem {
		if l.open.has(r.Seq) {
			return true
		}
	}
	return false
}

// ahead is how many bytes are in memory alone.
func (l *Log) ahead() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.mem {
		n += len(r.Blob)
	}
	return n
}

// take cuts the batch so far and numbers it.
func (l *Log) take() {
	if ring, _, _ := l.state(); ring == nil {
		l.reopen()
	}
	b, lost := l.recorder.cut()
	if lost > 0 {
		l.cfg.Log.Warn("samples had no room in a batch of telemetry", "samples", lost)
	}
	if len(b.Tracks) == 0 {
		return
	}
	blob := pack(b, l.cfg.Stamp().Clock)
	l.mu.Lock()
	if l.ring == nil {
		l.mu.Unlock()
		return
	}
	epoch, seq := l.ring.Next()
	l.mem = append(l.mem, series.Row{Epoch: epoch, Seq: seq, At: b.From, Blob: blob})
	if l.cfg.Fleet {
		l.open = l.open.add(seq, seq)
	}
	l.mu.Unlock()
	l.cfg.Wake()
}

// flush writes what is in memory in one commit, with the fleet's cursor.
func (l *Log) flush(ctx context.Context) {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.mu.Lock()
	ring, rows := l.ring, append([]series.Row(nil), l.mem...)
	var marks map[string][]byte
	var mark []byte
	if ring != nil && l.cfg.Fleet {
		_, upto := ring.Last()
		if mark = l.open.encode(upto); !bytes.Equal(mark, l.mark) {
			marks = map[string][]byte{fleetMark: mark}
		}
	}
	l.mu.Unlock()
	if ring == nil || len(rows) == 0 && marks == nil {
		l.kept = time.Now()
		return
	}
	var d deflater
	packed := make([]series.Row, len(rows))
	for i, r := range rows {
		packed[i] = r
		packed[i].Blob = d.deflate(r.Blob)
	}
	dropped, err := ring.Append(ctx, packed, marks)
	large := (*series.TooLargeError)(nil)
	if err != nil && !errors.As(err, &large) {
		l.stuck(err)
		return
	}
	l.kept, l.mark = time.Now(), mark
	if err != nil {
		l.cfg.Health.Raise(CodeNotKept, "", fmt.Sprintf("%v; make mqtt.telemetry shorter", err))
	} else {
		l.cfg.Health.Clear(CodeNotKept, "")
	}
	l.mu.Lock()
	l.mem = l.mem[len(rows):]
	l.mu.Unlock()
	l.dropped(dropped)
}

// stuck tells that the file takes nothing, and lets the oldest in memory go
// where there is too much of it.
func (l *Log) stuck(err error) {
	l.cfg.Health.Raise(CodeNotKept, "", fmt.Sprintf("%v: batches wait in memory and go at its bound, the oldest first; it is tried again with every batch; look at the disk that the data folder is on", err))
	gone := uint64(0)
	for l.ahead() > mostStuck {
		l.mu.Lock()
		gone, l.mem = l.mem[0].Seq, l.mem[1:]
		l.mu.Unlock()
		l.unkept(gone, gone)
	}
}

// dropped takes note that the ring let go of what it had up to a number.
func (l *Log) dropped(upto uint64) {
	if upto > 0 && l.unkept(0, upto) {
		return
	}
	l.mu.Lock()
	calm := l.open.count() <= uint64(len(l.mem))
	l.mu.Unlock()
	if calm {
		l.cfg.Health.Clear(CodeUndelivered, "")
	}
}

// unkept tells of batches that are kept no more, where the fleet lacks them,
// and whether it does.
func (l *Log) unkept(low, high uint64) bool {
	l.mu.Lock()
	before := l.open.count()
	l.open = l.open.remove(low, high)
	lacks := before - l.open.count()
	l.lost += lacks
	lost := l.lost
	l.mu.Unlock()
	if lacks > 0 {
		l.cfg.Health.Raise(CodeUndelivered, "", fmt.Sprintf("%d batches since the start made room for newer ones before the fleet took them: look at the broker, and at what acknowledges telemetry", lost))
	}
	return lacks > 0
}

// Size is that of the file, and Written what was written to it since it was
// opened.
func (l *Log) Size() (size, written int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ring == nil {
		return 0, 0
	}
	return l.ring.Size(), l.ring.Written()
}

// Close gives the file back. Call it after Run has returned.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ring == nil {
		return nil
	}
	ring := l.ring
	l.ring = nil
	return ring.Close()
}
