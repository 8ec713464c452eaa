package clocktest

import (
	"sync"
	"testing"
	"time"
)

// Without the one processor this dies under the race detector within a second
// or two, and not with a failure: with a signal.
func TestManyTimersDueAtOnce(t *testing.T) {
	for range 300 {
		Bubble(t, func(t *testing.T) {
			var all sync.WaitGroup
			for range 6 {
				all.Go(func() {
					for range 50 {
						due := time.NewTimer(time.Second)
						time.Sleep(2 * time.Second)
						<-due.C
					}
				})
			}
			all.Wait()
		})
	}
}
