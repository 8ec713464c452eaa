package why

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// plan asks one battery for so much, because of one dispatch.
func plan(w flex.Watts, text string) allocate.Plan {
	t := flex.Target{Device: "b", Order: flex.OrderSet, Power: w, Dispatch: []flex.InstructionID{"i"}, Whys: []flex.Why{{Who: "instruction", Power: w, Text: text}}}
	if w == 0 {
		t = flex.Target{Device: "b", Order: flex.OrderNone}
	}
	return allocate.Plan{Targets: []flex.Target{t}}
}

func TestWhatWasInForceAtEverySecond(t *testing.T) {
	h := New(nil, noon)
	for s := range 30 {
		p := plan(0, "")
		if s >= 10 && s < 20 {
			p = plan(5000, time.Duration(s).String()) // the text wavers
		}
		if s >= 15 && s < 20 {
			p.Shortfall = map[flex.InstructionID]allocate.Shortfall{"i": {Missing: 1000, Reason: flex.ReasonSiteLimit, Text: "too much"}}
		}
		h.Note(noon.Add(time.Duration(s)*time.Second), p)
	}
	if n := len(h.entries); n != 7 { // begin, alive, three targets, two of the shortfall
		t.Errorf("%d changes are kept", n)
	}
	for s := range 30 {
		a := h.At(noon.Add(time.Duration(s)*time.Second + time.Millisecond))
		want, since := flex.Watts(0), noon
		if s >= 10 && s < 20 {
			want, since = 5000, noon.Add(10*time.Second)
		} else if s >= 20 {
			since = noon.Add(20 * time.Second)
		}
		got := a.Targets["b"]
		if !a.Running || got.Target.Power != want || !got.Since.Equal(since) || len(a.Short) == 1 != (s >= 15 && s < 20) {
			t.Errorf("second %d: %+v", s, a)
		}
	}
	if a := h.At(noon.Add(-time.Second)); a.Running || len(a.Targets) != 0 || !a.Oldest.Equal(noon) {
		t.Errorf("before: %+v", a)
	}
}

// After a step back of the wall clock what came last is what is in force.
func TestTheClockIsSteppedBack(t *testing.T) {
	h := New(nil, noon)
	h.Note(noon.Add(time.Minute), plan(5000, ""))
	back := noon.Add(-time.Hour)
	h.Note(back, plan(3000, ""))
	for at, want := range map[time.Time]flex.Watts{back: 3000, back.Add(time.Minute): 3000, noon.Add(-2 * time.Hour): 0} {
		if a := h.At(at); a.Targets["b"].Target.Power != want || a.Running != (want != 0) {
			t.Errorf("at %v: %+v, want %v", at, a, want)
		}
	}
}

func TestWhatCameBeforeARestart(t *testing.T) {
	h := New(nil, noon)
	h.Note(noon, plan(5000, ""))
	h.Note(noon.Add(2*time.Hour), plan(4000, ""))
	again := New(h.take(), noon.Add(4*time.Hour))
	again.Note(noon.Add(4*time.Hour), plan(0, ""))
	for at, want := range map[time.Duration]struct {
		running bool
		power   flex.Watts
	}{
		time.Minute: {true, 5000}, 2 * time.Hour: {true, 4000},
		2*time.Hour + 5*time.Minute: {true, 4000},
		3 * time.Hour:               {false, 4000}, // it was last seen an hour ago
		4 * time.Hour:               {true, 0},
	} {
		a := again.At(noon.Add(at))
		if a.Running != want.running || a.Targets["b"].Target.Power != want.power {
			t.Errorf("%v after noon: %+v", at, a)
		}
	}
}

func TestHistoryIsBounded(t *testing.T) {
	h := New(nil, noon)
	for n := range 3 * mostOf {
		h.Note(noon.Add(time.Duration(n)*time.Second), plan(flex.Watts(1000+n%2), ""))
	}
	if len(h.entries) > mostOf+1 || len(h.unsaved) > mostOf {
		t.Errorf("%d entries, %d not saved", len(h.entries), len(h.unsaved))
	}
	h = New(nil, noon)
	for d := range 10 {
		for n := range 24 {
			h.Note(noon.AddDate(0, 0, d).Add(time.Duration(n)*time.Hour), plan(flex.Watts(n+1), ""))
		}
	}
	if old := noon.AddDate(0, 0, 10).Sub(h.entries[0].At); old < Kept || old > 2*Kept {
		t.Errorf("%v are kept", old)
	}
}

// shelf is a file in memory that can fail.
type shelf struct {
	mu    sync.Mutex
	blobs [][]byte
	fail  error
}

func (s *shelf) Append(_ context.Context, _ time.Time, b [][]byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail == nil {
		s.blobs = append(s.blobs, b...)
	}
	return s.fail
}
func (s *shelf) Read(context.Context, time.Time) ([][]byte, error) { return s.blobs, s.fail }

func TestHistoryIsSavedAndReadAgain(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		f := &shelf{fail: errors.New("no space left on device")}
		h := New(nil, time.Now())
		h.Note(time.Now(), plan(5000, "because"))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		var told []error
		go func() { done <- h.Run(ctx, f, func(err error) { told = append(told, err) }) }()
		time.Sleep(3 * saveEvery / 2)
		f.mu.Lock()
		f.fail = nil
		f.mu.Unlock()
		time.Sleep(10 * saveEvery)
		synctest.Wait()
		if len(f.blobs) != 1 {
			t.Errorf("%d batches for one change", len(f.blobs))
		}
		h.Note(time.Now(), plan(0, ""))
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if len(told) != 3 || told[0] == nil || told[1] != nil {
			t.Errorf("told %v", told)
		}
		old, err := Load(t.Context(), f, time.Now())
		if err != nil || len(old) != len(h.entries) {
			t.Errorf("%d of %d entries came back: %v", len(old), len(h.entries), err)
		}
		if got := New(old, time.Now().Add(time.Hour)).At(time.Now().Add(-time.Minute)).Targets["b"].Target; got.Power != 5000 || got.Whys[0].Text != "because" {
			t.Errorf("%+v", got)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"at":"2026-03-01T12:00:00Z","begin":true}` + "\n" + `{"at":"2026-03-01T12:00:01Z","target":{"device":"b","order":"set","power":5}}`))
	f.Add([]byte(`{"at":`))
	f.Fuzz(func(t *testing.T, b []byte) {
		list := parse(b)
		if len(list) > mostOf {
			t.Fatalf("%d entries", len(list))
		}
		New(list, noon).At(noon)
	})
}
