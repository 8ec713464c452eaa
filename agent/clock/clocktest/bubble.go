package clocktest

import (
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
)

// Bubble runs a test in a bubble of package synctest.
//
// Under the race detector it runs on one processor meanwhile. Two goroutines
// of a bubble that each find their channel timer due (time.NewTimer(0)) run it
// themselves, both with the one race context of the bubble; at the same
// instant on two processors that crashes the detector (Go 1.26, an unknown
// signal inside __tsan::SlotLock). It judges by what happened before what, so
// it finds the same races on one processor.
func Bubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	if raced {
		defer oneProcessor()()
	}
	synctest.Test(t, test)
}

// alone counts the bubbles that run now: the last one gives the processors back.
var alone struct {
	sync.Mutex
	bubbles, before int
}

func oneProcessor() (done func()) {
	alone.Lock()
	defer alone.Unlock()
	if alone.bubbles == 0 {
		alone.before = runtime.GOMAXPROCS(1)
	}
	alone.bubbles++
	return func() {
		alone.Lock()
		defer alone.Unlock()
		if alone.bubbles--; alone.bubbles == 0 {
			runtime.GOMAXPROCS(alone.before)
		}
	}
}
