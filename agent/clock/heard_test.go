package clock_test

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/clock"
	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestADateThatIsHeardWarnsAndProvesNothing(t *testing.T) {
	for _, tc := range []struct {
		name string
		off  time.Duration // of the date, from the clock when the answer came
		took time.Duration
		want string
	}{
		{"it fits", 0, 100 * time.Millisecond, ""},
		{"cut to the second it fits", -999 * time.Millisecond, 100 * time.Millisecond, ""},
		{"a slow answer fits", -20 * time.Second, 20 * time.Second, ""},
		{"two seconds fit", 2 * time.Second, 0, ""},
		{"behind", time.Hour, time.Second, "1h0m0s behind the date of the market"},
		{"ahead", -time.Hour, 0, "1h0m0s ahead of the date of the market"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				src := clocktest.New(false)
				w := clock.New(src, time.Time{})
				sent := time.Now()
				time.Sleep(tc.took)
				w.Heard("the market", src.Now().Add(tc.off), sent, time.Now())
				time.Sleep(time.Minute)
				st := w.State()
				if got := w.Hearsay(); !strings.Contains(got, tc.want) || (got == "") != (tc.want == "") || !strings.Contains(st.Why, tc.want) || st.Trust != flex.ClockHoldover {
					t.Errorf("said %q, state %+v, want %q", got, st, tc.want)
				}
				if src.Step(tc.off); tc.want != "" && w.Hearsay() != "" {
					t.Errorf("put right it says %q", w.Hearsay())
				}
				src.Step(-tc.off)
				if time.Sleep(2 * time.Hour); w.Hearsay() != "" {
					t.Error("it counts for ever")
				}
			})
		})
	}
}
