package intake

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"flexd/agent/flex"
)

// job is one notice that is worked on. Its fields are guarded by Intake.mu;
// the worker that holds it (busy) may read notice without.
type job struct {
	notice flex.Notice
	stored bool // open on disk; before that nothing but stops is committed for it
	unkept bool // it could not be stored: only its stops count
	busy   bool
	again  bool // delivered again while busy: what was fetched may be old
	done   bool // fetched; kept for a while to hold back repetitions
	due    time.Time
	born   time.Time // when this process took it up
	began  time.Time // last fetch
	until  time.Time // no retry after
	wait   time.Duration
	tries  int
	parked []flex.Instruction // fetched before the notice was stored
	raw    []byte             // with parked: the reply they came in
	rawAt  time.Time          // and its instant
	held   bool               // parked is valid
	looked bool               // fetched before, and put back for want of room
	ids    map[flex.InstructionID]struct{}
}

func newJob(n flex.Notice, now time.Time) *job {
	return &job{notice: n, born: now, due: now, until: lifeOf(n, now), ids: map[flex.InstructionID]struct{}{}}
}

// lifeOf is how long a notice is retried when no window is known.
func lifeOf(n flex.Notice, now time.Time) time.Time {
	from := n.Received
	if from.IsZero() || from.After(now) || n.Again {
		from = now
	}
	return from.Add(noticeMaxLife)
}

// expect makes a job of a verified notice before it is stored, or notes that
// it came again.
func (i *Intake) expect(n flex.Notice) {
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	j, known := i.jobs[n.ID]
	if known {
		j.notice.Doors = joinDoors(j.notice.Doors, n.Doors)
	}
	switch {
	case !known && !i.roomFor():
		i.overflow = true
	case !known:
		i.jobs[n.ID] = newJob(n, now)
	case j.done:
		j.done, j.stored, j.notice.Again = false, false, true
		j.born, j.ids = now, map[flex.InstructionID]struct{}{}
		j.wait, j.tries, j.until = 0, 0, now.Add(noticeMaxLife)
		j.due = later(now, j.began.Add(refetchGap))
	case j.busy:
		j.again = true
	default:
		j.due = sooner(j.due, later(now, j.began.Add(refetchGap)))
	}
	i.Wake()
}

// stored tells that the notice is open on disk: its job may commit.
func (i *Intake) stored(n flex.Notice) {
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	j, known := i.jobs[n.ID]
	if !known {
		if !i.roomFor() {
			i.overflow = true
			return
		}
		j = newJob(n, now)
		i.jobs[n.ID] = j
	}
	n.Doors = joinDoors(n.Doors, j.notice.Doors)
	j.stored, j.unkept, j.done, j.notice = true, false, false, n
	if j.held {
		j.due = now
	}
	i.Wake()
}

// forget drops what was expected and could not be stored.
func (i *Intake) forget(id flex.NotificationID) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if j, known := i.jobs[id]; known && !j.stored {
		delete(i.jobs, id)
	}
}

// stillOpen tells that the notice is open on disk and will be fetched.
func (i *Intake) stillOpen(id flex.NotificationID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	j, known := i.jobs[id]
	return known && j.stored && !j.done
}

// load makes jobs of the notices that are open on disk.
func (i *Intake) load(ctx context.Context) error {
	open, err := i.cfg.Book.OpenNotices(ctx)
	if err != nil {
		return err
	}
	now := time.Now()
	i.mu.Lock()
	defer i.mu.Unlock()
	i.overflow = false
	for _, n := range open {
		if _, known := i.jobs[n.ID]; known {
			continue
		}
		if !i.roomFor() {
			i.overflow = true
			break
		}
		j := newJob(n, now)
		j.stored = true
		i.jobs[n.ID] = j
	}
	return nil
}

// take claims the jobs that are due, at most as many as may fetch at a time,
// and forgets those that are long done. It tells how long nothing more is due:
// jobs beyond the bound of fetchers wait for the wake-up that the end of a
// fetch gives.
func (i *Intake) take(now time.Time) (out []*job, wait time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	wait = reloadEvery
	for id, j := range i.jobs {
		switch {
		case j.done && now.Sub(j.began) > refetchGap:
			delete(i.jobs, id)
		case j.busy || j.held && !j.stored && !j.unkept:
		case j.done:
			wait = min(wait, max(0, j.began.Add(refetchGap).Sub(now))+time.Second)
		case j.due.After(now):
			wait = min(wait, j.due.Sub(now))
		case j.held:
			j.busy = true
			out = append(out, j)
		case i.mayFetch(j):
			i.fetching++
			if j.tries > 0 {
				i.retrying++
			}
			j.busy, j.began = true, now
			out = append(out, j)
		}
	}
	return out, wait
}

// joinDoors adds doors that are not known yet.
func joinDoors(have, more []flex.Sighting) []flex.Sighting {
	out := slices.Clone(have)
	for _, m := range more {
		if !slices.ContainsFunc(out, func(h flex.Sighting) bool { return h.Door == m.Door }) {
			out = append(out, m)
		}
	}
	return out
}

// roomAgain tells whether notices that did not fit may be loaded now.
func (i *Intake) roomAgain() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if !i.overflow {
		return false
	}
	open := 0
	for _, j := range i.jobs {
		if !j.done {
			open++
		}
	}
	return open < maxJobs/2
}

// roomFor tells whether one more job fits. One that is done and only holds
// repetitions back makes room: what is new may be a stop. mu is held.
func (i *Intake) roomFor() bool {
	if len(i.jobs) < maxJobs {
		return true
	}
	var oldest *job
	for _, j := range i.jobs {
		if j.done && (oldest == nil || j.began.Before(oldest.began)) {
			oldest = j
		}
	}
	if oldest != nil {
		delete(i.jobs, oldest.notice.ID)
	}
	return oldest != nil
}

// mayFetch tells whether a job that is due may ask the market now. What was
// looked at before has had its stops carried out: it waits until there is
// room to keep the rest. mu is held.
func (i *Intake) mayFetch(j *job) bool {
	if j.looked && i.settling+i.fetching >= maxSettling {
		return false
	}
	return i.fetching < fetchers && (j.tries == 0 || i.retrying < retriers)
}

// enter takes one of the places of those that have fetched and wait for the
// disk; leave gives it back. However slow the disk, what they hold in memory
// is bounded.
func (i *Intake) enter() bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.settling >= maxSettling {
		return false
	}
	i.settling++
	return true
}

func (i *Intake) leave() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.settling--
	i.Wake()
}

// putBack lets go of what was fetched; the notice is open on disk and is
// fetched again when there is room.
func (i *Intake) putBack(j *job) {
	i.mu.Lock()
	defer i.mu.Unlock()
	j.busy, j.again, j.looked, j.due = false, false, true, time.Now()
	j.drop()
	i.Wake()
}

// drop forgets what was fetched.
func (j *job) drop() { j.held, j.parked, j.raw = false, nil, nil }

// park keeps what was fetched until the notice is stored. It reports false
// when it is stored already and the worker may go on.
func (i *Intake) park(j *job, got []flex.Instruction, src source) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	if j.stored || j.unkept {
		j.drop()
		return false
	}
	j.parked, j.raw, j.rawAt, j.held, j.busy = got, src.raw, src.at, true, false
	return true
}

// retry gives the job back for another try after the error's wait, or the
// next step of the back-off.
func (i *Intake) retry(j *job, least time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	j.wait = min(max(backoffMin, 2*j.wait), backoffMax)
	wait := max(j.wait, min(least, time.Hour))
	j.busy, j.again, j.looked = false, false, false
	j.drop()
	j.due = time.Now().Add(wait + rand.N(wait/4+1))
	j.tries++
	i.Wake()
}

// finish closes a job, or lets it run again when it was delivered meanwhile.
func (i *Intake) finish(j *job, again bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	j.busy, j.again, j.looked = false, false, false
	j.drop()
	j.wait, j.tries = 0, 0
	if again {
		j.notice.Again = true
		j.ids = map[flex.InstructionID]struct{}{}
		j.due, j.until = j.began.Add(refetchGap), time.Now().Add(noticeMaxLife)
	} else {
		j.done, j.stored = true, false
	}
	i.Wake()
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

func sooner(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
