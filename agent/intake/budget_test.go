package intake

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// Anybody may post pointers where nothing is signed. However many come, of one
// source or of many, the market is asked a bounded number of times with our
// token, and what is beyond that is found by the list.
func TestInventedPointersHaveABudget(t *testing.T) {
	for sources, most := range map[int]int{1: freePerSource, 500: freeInAll} {
		clocktest.Bubble(t, func(t *testing.T) {
			lists := 0
			r := newRig(func(c *Config) { c.PollNow = func() { lists++ } })
			r.market.keyID, r.market.fail = flex.UnsignedKey, fmt.Errorf("404: %w", flex.ErrNothingThere)
			r.start(t)
			taken := 0
			for n := range 2000 {
				env := body(fmt.Sprint("u", n))
				env.Source = fmt.Sprint("192.0.2.", n%sources)
				err := r.Accept(t.Context(), env)
				var retry *flex.RetryError
				why, refused := flex.RefusalOf(err)
				switch {
				case err == nil:
					taken++
				case !errors.As(err, &retry) || !refused || why.Reason != flex.ReasonTooMany:
					t.Fatal(err)
				}
			}
			time.Sleep(10 * time.Minute)
			synctest.Wait()
			if n := r.market.fetched(); taken != most || n > 4*most+4 || lists != 1 {
				t.Errorf("%d sources: %d taken, %d requests, %d lists", sources, taken, n, lists)
			}
			if !r.notes.raised(CodeTooMany) {
				t.Error("nobody is told")
			}
			if err := r.Accept(t.Context(), body("later")); err != nil {
				t.Errorf("the budget does not come back: %v", err)
			}
		})
	}
}

// An address that many share has no budget of its own.
func TestASharedAddressHasTheWholeBudget(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.keyID = flex.UnsignedKey
		taken := 0
		for n := range 200 {
			env := body(fmt.Sprint("u", n))
			env.Shared = true
			if r.Accept(t.Context(), env) == nil {
				taken++
			}
		}
		if taken != freeInAll {
			t.Errorf("%d are taken, want %d", taken, freeInAll)
		}
	})
}

// What is signed has no such budget.
func TestWhatIsSignedHasNoBudget(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		for n := range 500 {
			if err := r.Accept(t.Context(), body(fmt.Sprint("u", n))); err != nil {
				t.Fatal(err)
			}
		}
	})
}
