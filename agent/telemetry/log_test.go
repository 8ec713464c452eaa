package telemetry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
	"flexd/store/series"
)

// alarms remembers what is raised.
type alarms struct {
	mu   sync.Mutex
	text map[string]string
}

func (a *alarms) Raise(code, _, text string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.text[code] = text
}

func (a *alarms) Clear(code, _ string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.text, code)
}

func (a *alarms) of(code string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.text[code]
}

// rig is a Log of one site in a bubble. Where the fleet is up it takes each
// batch at once.
type rig struct {
	t       *testing.T
	path    string
	size    int // bound of the file
	run     int
	fleet   bool
	up      atomic.Bool
	running atomic.Bool
	openErr atomic.Pointer[error]
	alarms  alarms
	log     *Log
	stop    func()
	got     []flex.Message
}

func newRig(t *testing.T) *rig {
	r := &rig{t: t, path: filepath.Join(t.TempDir(), "series.db"), fleet: true, alarms: alarms{text: map[string]string{}}}
	t.Cleanup(func() { r.stop() })
	r.start()
	return r
}

func (r *rig) start() {
	r.run++
	run := r.run
	r.log = New(Config{Interval: time.Minute, Fleet: r.fleet, Running: r.running.Load,
		Open: func() (*series.DB, error) {
			if err := r.openErr.Load(); err != nil {
				return nil, *err
			}
			return series.Open(r.path, series.Options{Log: slog.New(slog.DiscardHandler), MaxSize: r.size, Run: fmt.Sprint(run), Last: fmt.Sprint(run - 1)})
		},
		Stamp: func() flex.Stamp { return flex.Stamp{At: time.Now(), Clock: flex.ClockSynced} },
		Wake:  func() { r.take() }, Health: &r.alarms, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	log := r.log
	go func() { done <- log.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := log.Close(); err != nil {
			r.t.Error(err)
		}
	})
}

// take has the fleet take all there is, when it is up.
func (r *rig) take() {
	if !r.up.Load() {
		return
	}
	for below := r.log.Newest() + 1; ; {
		list, err := r.log.Before(context.Background(), below, 16)
		if err != nil {
			r.t.Error(err)
		}
		if len(list) == 0 {
			return
		}
		for _, m := range list {
			r.got = append(r.got, m)
			r.log.Done(m.Seq)
			below = m.Seq
		}
	}
}

// measure has devices measured once a second.
func (r *rig) measure(devices int, d time.Duration) {
	for range int(d / time.Second) {
		for n := range devices {
			p := flex.Watts(rand.IntN(5000))
			r.log.Reading(flex.Reading{Device: flex.DeviceID(fmt.Sprintf("d%d", n)), At: time.Now(), Power: &p})
		}
		time.Sleep(time.Second)
	}
	synctest.Wait()
}

// inFile counts the batches in the file.
func (r *rig) inFile() int {
	rows, err := r.log.ring.From(context.Background(), 0, 1<<20)
	if err != nil {
		r.t.Fatal(err)
	}
	return len(rows)
}

func (r *rig) samples(q Query) (list []Sample) {
	if err := r.log.Each(context.Background(), q, func(s Sample) error { list = append(list, s); return nil }); err != nil {
		r.t.Fatal(err)
	}
	return list
}

func TestBatchesStayInMemoryWhileTheFleetTakesThem(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.up.Store(true)
		r.measure(2, 9*time.Minute+30*time.Second)
		if n := r.inFile(); n != 0 || len(r.got) != 9 {
			t.Errorf("%d batches in the file after 9 minutes, the fleet has %d", n, len(r.got))
		}
		r.measure(2, time.Minute)
		if n := r.inFile(); n != 10 {
			t.Errorf("%d batches in the file after ten minutes", n)
		}
		r.measure(2, 5*time.Minute)
		r.up.Store(false)
		r.measure(2, 2*time.Minute)
		if n := r.inFile(); n != 17 {
			t.Errorf("%d batches in the file after the fleet went away", n)
		}
		if list := r.samples(Query{}); len(list) != 2*(9*60+30+60+5*60+2*60) {
			t.Errorf("%d samples are exported", len(list))
		}
	})
}

func TestNothingOfADispatchStaysInMemory(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.up.Store(true)
		r.measure(1, 90*time.Second)
		r.log.Boundary() // it begins
		synctest.Wait()
		if n := len(r.log.mem); n != 0 || r.inFile() != 2 {
			t.Errorf("%d in memory, %d in the file at its start", n, r.inFile())
		}
		r.running.Store(true)
		r.measure(1, 3*time.Minute)
		if n := len(r.log.mem); n != 0 {
			t.Errorf("%d in memory while it runs", n)
		}
		r.running.Store(false)
		r.log.Boundary()
		synctest.Wait()
		if n := len(r.log.mem); n != 0 || len(r.log.recorder.devices) != 0 {
			t.Errorf("%d in memory at its end", n)
		}
	})
}

// What is kept does not depend on whether there is a fleet, and who comes later
// has what was kept before.
func TestTelemetryIsKeptWithoutAFleet(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.fleet = false
		r.start()
		r.measure(1, 25*time.Minute)
		if n := r.inFile(); n != 20 {
			t.Errorf("%d batches in the file", n)
		}
		r.stop()
		r.fleet = true
		r.up.Store(true)
		r.start()
		r.take()
		if len(r.got) != 25 || r.got[0].Seq != 25 || r.got[24].Seq != 1 {
			t.Errorf("the fleet has %d", len(r.got))
		}
		r.stop()
		r.fleet = false // the broker is taken out of the configuration, and comes back
		r.start()
		r.measure(1, 3*time.Minute)
		r.stop()
		r.fleet, r.got = true, nil
		r.start()
		r.take()
		if len(r.got) != 3 {
			t.Errorf("the fleet has %d of what came meanwhile", len(r.got))
		}
	})
}

func TestAnOutageIsDrainedNewestFirst(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.up.Store(true)
		r.measure(1, 5*time.Minute)
		r.up.Store(false)
		r.measure(1, 30*time.Minute)
		r.got = nil
		live, err := r.log.After(t.Context(), 30, 100)
		if err != nil || len(live) != 5 || live[0].Seq != 31 || live[4].Seq != 35 {
			t.Errorf("%d live, %v", len(live), err)
		}
		ids := map[string]bool{}
		for _, m := range live {
			ids[m.ID] = true
		}
		r.up.Store(true)
		r.take()
		for i, m := range r.got {
			if m.Seq != uint64(35-i) || m.Clock != flex.ClockSynced || m.Schema != "tele/1" || len(m.ID) != 26 {
				t.Errorf("%d: %+v", i, m)
			}
			if i < 5 && !ids[m.ID] {
				t.Error("the same batch has another id")
			}
			var body struct{ From time.Time }
			if err := json.Unmarshal(m.Body, &body); err != nil || !body.From.Equal(m.At) {
				t.Errorf("%s, %v", m.Body, err)
			}
		}
		if len(r.got) != 30 || r.log.Waiting() != 0 {
			t.Errorf("%d of 30, %d wait", len(r.got), r.log.Waiting())
		}
	})
}

// A kill costs what was in memory, and its numbers are not given again.
func TestAKillCostsMemoryAlone(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.up.Store(true)
		r.measure(1, 15*time.Minute)
		before := len(r.got)
		r.log.mu.Lock()
		r.log.mem = nil // as if it had never been
		r.log.mu.Unlock()
		r.log.recorder.cut()
		r.stop()
		r.run++ // its end was no orderly one
		r.start()
		r.measure(1, 15*time.Minute)
		seen := map[string]bool{}
		for _, m := range r.got {
			key := fmt.Sprintf("%s/%d", m.Epoch, m.Seq)
			if seen[key] && !slices.ContainsFunc(r.got[:before], func(b flex.Message) bool { return b.ID == m.ID }) {
				t.Errorf("%s twice, of other contents", key)
			}
			seen[key] = true
		}
		if n := r.inFile(); n != 20 {
			t.Errorf("%d batches in the file", n)
		}
	})
}

func TestAFileThatTakesNothingIsTold(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		readOnly := errors.New("read-only file system")
		r.openErr.Store(&readOnly)
		r.start()
		r.measure(1, 2*time.Minute)
		if r.alarms.of(CodeNotKept) == "" {
			t.Error("nobody is told")
		}
		r.openErr.Store(nil)
		r.measure(1, 12*time.Minute)
		if text := r.alarms.of(CodeNotKept); text != "" || r.inFile() == 0 {
			t.Errorf("still told: %q, %d in the file", text, r.inFile())
		}
		ring := r.log.ring
		if err := ring.Close(); err != nil { // what a disk that went away looks like
			t.Fatal(err)
		}
		r.measure(1, 12*time.Minute)
		if r.alarms.of(CodeNotKept) == "" {
			t.Error("nobody is told of a failing write")
		}
		r.log.mu.Lock()
		r.log.ring = nil
		r.log.mu.Unlock()
		r.measure(1, 12*time.Minute)
		if text := r.alarms.of(CodeNotKept); text != "" || len(r.log.mem) > 10 {
			t.Errorf("still told: %q, %d in memory", text, len(r.log.mem))
		}
	})
}

// What makes room before the fleet had it is told, and is the oldest.
func TestWhatLeavesTheRingUnsentIsTold(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		r.stop()
		r.size = 1 << 20
		r.start()
		r.measure(40, 3*time.Hour)
		if r.alarms.of(CodeUndelivered) == "" {
			t.Error("nobody is told")
		}
		low, high, err := r.log.ring.Bounds()
		if err != nil || low == 1 || high < 175 || uint64(r.log.Waiting()) < high-low {
			t.Errorf("%d to %d, %d wait, %v", low, high, r.log.Waiting(), err)
		}
		r.up.Store(true)
		r.take()
		r.measure(1, 15*time.Minute)
		if r.alarms.of(CodeUndelivered) != "" || r.log.Waiting() != 0 {
			t.Errorf("still told, %d wait", r.log.Waiting())
		}
	})
}

func TestSamplesAreSelected(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t)
		begin := time.Now()
		r.measure(3, 15*time.Minute+10*time.Second)
		all := r.samples(Query{})
		if len(all) != 3*910 || !slices.IsSortedFunc(all, func(a, b Sample) int { return a.At.Compare(b.At) }) {
			t.Errorf("%d samples", len(all))
		}
		some := r.samples(Query{From: begin.Add(30 * time.Second), To: begin.Add(90 * time.Second), Device: "d1"})
		if len(some) != 60 || some[0].Device != "d1" || !some[0].At.Equal(begin.Add(30*time.Second)) {
			t.Errorf("%d of one minute", len(some))
		}
		late := r.samples(Query{From: begin.Add(15 * time.Minute)})
		if len(late) != 30 {
			t.Errorf("%d of the present batch", len(late))
		}
	})
}
