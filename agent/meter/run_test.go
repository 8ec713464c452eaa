package meter

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// bubble is the clock of a synctest bubble.
type bubble struct{}

func (bubble) Now() (time.Time, flex.ClockTrust) { return time.Now().UTC(), flex.ClockSynced }
func (bubble) Reached() time.Time                { return time.Now().UTC() }

// One transaction every quarter of an hour, every five minutes while a dispatch
// runs and once after it, and the rest at the end: what was closed since is not
// lost by an orderly stop.
func TestIntervalsAreKeptEveryQuarter(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		kept, begun := &shelf{}, time.Now()
		rule := &Rule{Method: flex.MethodRecent, Fallback: FallbackZero, Span: halfHour}
		m := New(Config{Assets: []Asset{{ID: "a", Meter: "grid", Rule: rule}}, Shelf: kept, Wall: bubble{}, Zone: time.UTC, Health: alarms{}, Log: slog.New(slog.DiscardHandler),
			Running: func() bool { m := time.Since(begun).Minutes(); return m > 4 && m < 8 }})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		puts := map[time.Duration]int{}
		for n := range 32 * 60 {
			w := flex.Watts(1200)
			m.Reading(flex.Reading{Device: "grid", At: time.Now(), Power: &w})
			if n%97 == 0 { // whoever asks meanwhile disturbs nothing
				_, _ = m.Try(ctx, "a", flex.Window{Start: time.Now(), End: time.Now().Add(time.Hour)}, time.Now())
			}
			time.Sleep(time.Second)
			synctest.Wait()
			puts[time.Since(begun)] = kept.puts
		}
		for after, want := range map[time.Duration]int{14 * time.Second: 0, 5*time.Minute + 14*time.Second: 1, 5*time.Minute + 16*time.Second: 2,
			10*time.Minute + 14*time.Second: 2, 10*time.Minute + 16*time.Second: 3, 15*time.Minute + 14*time.Second: 3, 15*time.Minute + 16*time.Second: 4,
			30*time.Minute + 14*time.Second: 4, 30*time.Minute + 16*time.Second: 5, 32 * time.Minute: 5} {
			if puts[after] != want {
				t.Errorf("after %v: %d transactions, want %d", after, puts[after], want)
			}
		}
		stop()
		if err := <-done; err != nil || kept.puts != 6 || len(kept.rows["a"][time.Minute]) != 31 {
			t.Errorf("%v, %d transactions, %d minutes", err, kept.puts, len(kept.rows["a"][time.Minute]))
		}
	})
}
