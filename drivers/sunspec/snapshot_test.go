package sunspec_test

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
	"flexd/drivers/sunspec"
)

// A start that is due at once must not wait for requests whose answers were
// sampled a moment ago; but what is found must be what is there.
func TestWhatIsFoundMayBeTheSampleOfAMomentAgo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := bank(40000, battery124(plain))
		d := open(t, b, sunspec.Config{Role: flex.RoleStorage})
		reads := func() int {
			before := b.Reads()
			snapshot(t, d)
			return b.Reads() - before
		}
		sample := func() {
			if _, err := d.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if reads() == 0 {
			t.Error("taken without ever having sampled")
		}
		sample()
		if n := reads(); n != 0 {
			t.Errorf("%d reads although it was sampled just now", n)
		}
		time.Sleep(2 * time.Second)
		if reads() == 0 {
			t.Error("a sample of two seconds ago was believed")
		}
		sample()
		e := snapshot(t, d)
		time.Sleep(time.Millisecond)
		apply(t, d, set(1000))
		if _, err := d.Release(t.Context(), e); err != nil {
			t.Fatal(err)
		}
		if reads() == 0 {
			t.Error("a sample from before our own writes was believed")
		}
	})
}
