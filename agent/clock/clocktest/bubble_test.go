package clocktest

import (
	"sync"
	"testing"
	"time"
)

// Without the one processor this dies under the race detector, and not of a
// failure: of a signal.
func TestManyTimersDueAtOnce(t *testing.T) {
	for range 100 {
		Bubble(t, func(t *testing.T) {
			var all sync.WaitGroup
			for range 64 {
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
