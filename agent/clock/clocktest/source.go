// Package clocktest is a machine's clock that a test steps, synchronises and
// boots anew, and the bubble in which such a test runs.
//
// In: orders of the test. Out: a clock.Source that otherwise runs with package
// time, in a bubble too. It is for tests alone.
package clocktest

import (
	"sync"
	"time"
)

// Source is a clock.Source. It is safe for concurrent use.
type Source struct {
	mu     sync.Mutex
	ahead  time.Duration // of the wall clock, by steps
	synced bool
	boot   string
	up     time.Time // when it booted, by package time
}

// New is a clock that shows the time of package time and has been up for an
// hour.
func New(synced bool) *Source {
	return &Source{synced: synced, boot: "boot-1", up: time.Now().Add(-time.Hour)}
}

// Now is the wall clock.
func (s *Source) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Now().Add(s.ahead).Round(0)
}

// Synced is what Sync said last.
func (s *Source) Synced() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.synced
}

// Boot is the boot's name and the time since then.
func (s *Source) Boot() (string, time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.boot, time.Since(s.up)
}

// Step moves the wall clock, and nothing else.
func (s *Source) Step(by time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += by
}

// Adjust steps the wall clock, and at once the kernel says whether that is
// synchronised.
func (s *Source) Adjust(by time.Duration, synced bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead, s.synced = s.ahead+by, synced
}

// Set moves the wall clock to an instant.
func (s *Source) Set(to time.Time) { s.Step(to.Round(0).Sub(s.Now().Round(0))) }

// Sync tells whether the kernel calls itself synchronised.
func (s *Source) Sync(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.synced = on
}

// Reboot begins another boot.
func (s *Source) Reboot(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.boot, s.up = name, time.Now()
}
