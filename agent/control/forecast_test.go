package control

import (
	"context"
	"testing"
	"time"

	"flexd/agent/allocate"
	"flexd/agent/flex"
)

// A battery that will run dry, and one that starts too weak, are told of
// before they are short; what cannot start yet, and what is well, is not.
func TestAShortfallIsToldBeforeItComes(t *testing.T) {
	bubble(t, func(t *testing.T) {
		d := &device{id: "b"}
		r := newRig(t, nil, false, d)
		if err := r.c.Recover(context.Background()); err != nil {
			t.Fatal(err)
		}
		r.start()
		defer r.kill()
		now := time.Now().UTC()
		r.board.change(func(b *board) {
			b.running = []flex.Dispatch{
				wants("weak", d, 14_000, now.Add(90*time.Minute), now.Add(2*time.Hour)),
				wants("well", d, 4000, now.Add(10*time.Minute), now.Add(20*time.Minute)),
			}
		})
		raised := func() bool { return r.alarms.is(CodeShortfallAhead + " weak") }
		time.Sleep(25 * time.Minute)
		if raised() {
			t.Error("said more than an hour ahead")
		}
		time.Sleep(6 * time.Minute)
		if !raised() {
			t.Error("not said an hour ahead")
		}
		time.Sleep(time.Second) // past a look
		r.board.change(func(b *board) { b.running = nil })
		time.Sleep(forecastEvery)
		if raised() || r.alarms.ever(CodeShortfallAhead+" well") {
			t.Error("said of a dispatch that is not there, or that is well")
		}
	})
}

func TestAForecastNamesTheInstant(t *testing.T) {
	in := site(battery("b", 5000)) // 3 kWh above the reserve
	for _, tc := range []struct {
		name string
		d    flex.Dispatch
		from time.Duration
	}{
		{"dry after an hour", ask("i", 3000, 0, 2*time.Hour), time.Hour},
		{"too weak from the start", ask("i", 12_000, time.Hour, 61*time.Minute), time.Hour},
	} {
		f := foresee(in, tc.d, allocate.Decide)
		if off := f.From.Sub(today) - tc.from; off.Abs() > 2*time.Minute || f.Missing == 0 {
			t.Errorf("%s: from %v (%+v)", tc.name, f.From, f)
		}
	}
	if f := foresee(in, ask("i", 3000, 0, 50*time.Minute), allocate.Decide); !f.From.IsZero() {
		t.Errorf("enough: from %v", f.From)
	}
}
