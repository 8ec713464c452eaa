package control

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"flexd/agent/flex"
)

// command is the planner's latest word to a reconciler: a cell of one slot,
// where the latest wins.
type command struct {
	valid  bool // a plan was made
	target flex.Target
	ready  []flex.InstructionID // dispatches that run or begin soon: have the found state on disk
	next   time.Time            // boundary at which the line must be free
}

// control is what is to be written: what is only observed is not.
func (c command) control() flex.Target {
	if !wanted(c.target) {
		return flex.Target{Device: c.target.Device, Order: flex.OrderNone}
	}
	return c.target
}

// slot is one device as control knows it. The reader and the reconciler of its
// unit talk to the device without holding mu; everything else is under it.
type slot struct {
	c    *Controller
	unit *unit
	dev  Device
	set  DeviceSettings
	book *book
	due  atomic.Bool  // a release is due
	owed atomic.Int64 // since when, ns of the steady time: whatever holds the unit up must give way

	mu sync.Mutex

	// Of the reader.
	plate    flex.Nameplate
	opened   bool
	opens    int // how often it was opened
	misses   int // readings that failed in a row
	reading  *flex.Reading
	latency  time.Duration
	openWait time.Duration
	readAt   time.Time
	readErr  string
	planned  bool // with a reading, once

	// Of the planner.
	cmd command

	// Of the reconciler.
	entry  *flex.JournalEntry // nil: nothing is owed
	keeps  bool               // nothing is, and the entry stays on disk for the next dispatch
	stands bool               // a write of ours may stand in the device
	// inherited: by an earlier process, and it is handed back before it is told
	// anything new.
	inherited bool
	told      flex.Target   // what the registers were last proven to hold
	power     flex.Watts    // what the device was really told then
	trying    flex.Target   // of the last write
	unsure    bool          // that write may have been applied
	lost      bool          // what we wrote does not stand any more: write again at once
	suspect   bool          // a reading speaks against it: read back at once
	block     *flex.Refusal // why it must not be controlled
	blockTo   time.Time     // it is not tried again before
	own       claim
	corridor  corridor // where the power may be
	sights    []sight  // what it did lately
	// distrusted tells that it did the contrary of what it was told; it is not
	// controlled for a dispatch any more.
	distrusted *flex.Distrust
	twin       *flex.Refusal // it is the same device as another entry
	wearing    thrift
	after      *aftermath // of a release that followed a broken connection
	breaks     uint64     // of the connection, before the first write
	broke      bool       // it has broken since, whatever is counted
	belated    *belated   // it was free, and is released once more
	neutral    bool       // bring to neutral first: the journal was lost
	dueSince   time.Time  // since when a release is due
	retryAt    time.Time  // after a failure, not before
	retry      time.Duration
	fails      int           // writes that failed in a row
	aside      time.Duration // its part goes to others for so long, since it takes no setpoint
	asideTo    time.Time
	err        string
	clearing   uint64 // version of the journal that a changed cap waits for
	clearTo    time.Time
	journal    time.Time // when the intent was last given to the book
	expected   time.Time // until when a dispatch may come at any moment
	uncovered  time.Time // since when it is to be controlled, and what was found is not on disk
	proof      flex.Proof
	sentAt     time.Time // last write
	changed    time.Time // last change that delivery is judged from
	opensAt    int       // opens at the last proof
	verifyAt   time.Time
	meddled    time.Time // when others were last seen to write
	deliver    *bool
	badSince   time.Time
	served     map[flex.InstructionID]*served
}

// served is what one device did for one dispatch.
type served struct {
	engaged  bool // under control for it, or may be
	first    time.Time
	echo     time.Time
	acting   time.Time
	deliver  time.Time
	released time.Time
	left     string // what others had changed, where it was not put back
}

func (s *slot) id() flex.DeviceID { return s.dev.ID() }

// role is as configured, else as the device tells.
func (s *slot) role() flex.Role {
	if s.set.Role != "" {
		return s.set.Role
	}
	return s.plate.Role
}

// online tells whether the device answers.
func (s *slot) online() bool { return s.opened && s.misses < offlineAfter }

// untried tells that this process has not finished its first look at the
// device, or not planned with what it saw, as in the first moments after a
// start.
func (s *slot) untried() bool {
	return !s.planned && s.misses == 0 && s.openWait == 0 && s.opens <= 1
}

// limited is the nameplate within the configured bound.
func (s *slot) limited() flex.Nameplate {
	p, m := s.plate, s.set.MaxPower
	if m <= 0 {
		return p
	}
	if p.MaxPower == 0 {
		p.MaxPower = m
	}
	for _, v := range []*flex.Watts{&p.MaxPower, &p.MaxCharge, &p.MaxDischarge} {
		*v = min(*v, m)
	}
	return p
}

// wanted tells whether a target asks for writes.
func wanted(t flex.Target) bool {
	return !t.Observe && (t.Order == flex.OrderSet || t.Order == flex.OrderCap)
}

// free is the target of a device that belongs to itself.
func free(id flex.DeviceID) flex.Target { return flex.Target{Device: id, Order: flex.OrderNone} }

// alike tells whether two targets ask the same of the device.
func alike(a, b flex.Target) bool { return a.Order == b.Order && a.Power == b.Power }

// same tells whether they ask it for the same dispatches as well. A target for
// other dispatches is written again, so that each has a proof of its own.
func same(a, b flex.Target) bool { return alike(a, b) && slices.Equal(a.Dispatch, b.Dispatch) }

// of finds or makes the account of a dispatch.
func (s *slot) of(id flex.InstructionID) *served {
	v := s.served[id]
	if v == nil {
		v = &served{}
		s.served[id] = v
	}
	return v
}

// status is the device as people see it.
func (s *slot) status() flex.DeviceStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := flex.DeviceStatus{ID: s.id(), Role: s.role(), Endpoint: s.dev.Endpoint(), Unit: s.dev.Unit(), Online: s.online(), Plate: s.plate,
		Target: s.cmd.target, Held: s.stands, Error: s.err,
		ReleaseOwed: s.overdue(time.Now())}
	if st.Target.Order == "" {
		st.Target = free(s.id())
	}
	if st.Error == "" {
		st.Error = s.readErr
	}
	if st.Error == "" && s.block != nil {
		st.Error = s.block.Text
	}
	if s.reading != nil {
		r := *s.reading
		st.Reading, st.ReadingAge = &r, flex.InSeconds(max(0, time.Since(r.At)))
	}
	if s.stands {
		st.Proof = s.proof
	}
	if !st.Online { // nobody sees what it does
		st.Proof.ActingAt, st.Proof.DeliverAt = time.Time{}, time.Time{}
	}
	if st.ReleaseOwed {
		st.OwedSince = putOff(s.dueSince, s.c.stepped()).UTC()
	}
	st.Interference = s.interference(time.Now())
	if s.set.Cycles > 0 {
		st.Day = &flex.DayEnergy{Device: s.id(), Day: time.Now().In(s.c.cfg.Zone).Format(time.DateOnly), Discharged: s.c.daily.discharged(s.id(), time.Now()), Left: s.left(time.Now())}
	}
	st.Wear = s.c.wear.of(s.id(), time.Now())
	return st
}

// overdue tells whether a release has been due for longer than the device takes at
// its own pace; mu is held.
func (s *slot) overdue(now time.Time) bool {
	return !s.dueSince.IsZero() && now.Sub(s.dueSince) >= owedAfter+s.plate.HandBack
}
