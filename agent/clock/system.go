package clock

import (
	"crypto/rand"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// System reads the kernel of this machine. Its zero value is ready.
type System struct {
	// BootID is the boot's id where the kernel's own is hidden from us, as
	// by ProcSubset=pid of our unit; "" to read the kernel's.
	BootID string

	once sync.Once
	boot string
}

// Now is the wall clock; it carries a monotonic reading too.
func (s *System) Now() time.Time { return time.Now() }

// Synced asks adjtimex: the state is not TIME_ERROR and STA_UNSYNC is clear
// (adjtimex(2)). A refused call counts as not synchronised.
func (s *System) Synced() bool {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	return err == nil && state != unix.TIME_ERROR && tx.Status&unix.STA_UNSYNC == 0
}

// Boot gives the boot id, read once and without dashes, and CLOCK_BOOTTIME.
func (s *System) Boot() (string, time.Duration) {
	s.once.Do(func() {
		s.boot = s.BootID
		if b, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); s.boot == "" && err == nil {
			s.boot = string(b)
		}
		s.boot = strings.ReplaceAll(strings.TrimSpace(s.boot), "-", "")
		if s.boot == "" { // this process is all that is known to be one boot
			s.boot = "process" + rand.Text()
		}
	})
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return s.boot, 0
	}
	return s.boot, time.Duration(ts.Nano())
}
