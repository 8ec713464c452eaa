package ingress

import (
	"time"

	"golang.org/x/time/rate"
)

// relayWindow is how far back a repeated number is remembered as taken.
const relayWindow = 1024

// relayJump is how far a relay may count ahead or fall back at once before its
// count is taken up anew.
const relayJump = 1 << 20

// relayFirst is how high the first number that is heard of a relay may be
// without anything missing for certain.
const relayFirst = 32

// relayLate is how long a number may be overtaken by later ones.
const relayLate = 3 * time.Second

type relayKey struct{ id, to string }

// relayTrack follows the numbers of one relay on one topic.
type relayTrack struct {
	seq     uint64 // highest heard
	missing uint64
	heard   time.Time
	silent  bool
	fails   *rate.Limiter
	taken   [relayWindow]uint64 // numbers that are on disk, by their remainder
	// holes are numbers that were passed over, and when. Messages overtake one
	// another, in the broker and in our own library, so that a number is missing
	// only after a while.
	holes map[uint64]time.Time
}

func (t *relayTrack) mark(seq uint64)      { t.taken[seq%relayWindow] = seq }
func (t *relayTrack) done(seq uint64) bool { return t.taken[seq%relayWindow] == seq }

// count takes a number and tells why something is missing for certain, ""
// when nothing is.
func (t *relayTrack) count(e RelayEnvelope, first bool, now time.Time) string {
	switch {
	case first && e.Seq > relayFirst:
		t.seq = e.Seq
		return "it had counted before it was heard of"
	case e.Seq < t.seq && t.seq-e.Seq > relayJump, e.Seq > t.seq && e.Seq-t.seq > relayWindow:
		t.seq = e.Seq
		clear(t.holes)
		return "its numbers jump"
	}
	if e.Kind == RelayPost {
		delete(t.holes, e.Seq)
	}
	if e.Seq <= t.seq {
		return ""
	}
	upto := e.Seq
	if e.Kind == RelayPost {
		upto--
	}
	for n := upto; n > t.seq; n-- {
		if len(t.holes) >= relayWindow {
			clear(t.holes)
			t.seq = e.Seq
			return "too many numbers are missing"
		}
		t.holes[n] = now
	}
	t.seq = e.Seq
	return ""
}

// overdue gives up numbers that did not come, and tells how many.
func (t *relayTrack) overdue(now time.Time) int {
	n := 0
	for seq, at := range t.holes {
		if now.Sub(at) > relayLate {
			delete(t.holes, seq)
			n++
		}
	}
	t.missing += uint64(n)
	return n
}

// verdict says what to do with an envelope after its number was looked at.
type verdict int

const (
	takeIt verdict = iota
	leaveIt
)

// follow notes an envelope's number and decides whether intake sees it.
func (d *RelayDoor) follow(e RelayEnvelope, now time.Time) verdict {
	why := ""
	d.mu.Lock()
	t, known := d.relays[relayKey{e.Relay, e.To}]
	if !known {
		t = d.enter(relayKey{e.Relay, e.To}, now)
	}
	t.heard, t.silent = now, false
	why = t.count(e, !known, now)
	if e.Kind == RelayBye && len(t.holes) == 0 {
		delete(d.relays, relayKey{e.Relay, e.To})
	}
	v := d.admit(e, t, now)
	if v == leaveIt && why == "" && e.Kind == RelayPost && !t.done(e.Seq) {
		why = "too many of its envelopes are not authentic"
	}
	d.mu.Unlock()
	if why != "" {
		d.gap(e.Relay, why)
	}
	return v
}

// admit tells whether a post is new and its relay in good standing. A number
// counts as taken only once its body was verified and stored, so that a forged
// envelope keeps no genuine one out by its number.
func (d *RelayDoor) admit(e RelayEnvelope, t *relayTrack, now time.Time) verdict {
	if e.Kind != RelayPost {
		return leaveIt
	}
	d.status.Last = now.UTC()
	if t.done(e.Seq) {
		d.status.Repeated++
		return leaveIt
	}
	if t.fails.TokensAt(now) < 1 || d.fails.TokensAt(now) < 1 {
		d.status.Limited++
		return leaveIt
	}
	return takeIt
}

// enter begins to follow a relay; the one that was heard of longest ago makes
// room.
func (d *RelayDoor) enter(key relayKey, now time.Time) *relayTrack {
	if len(d.relays) >= maxRelays {
		var oldest relayKey
		var at time.Time
		for k, t := range d.relays {
			if at.IsZero() || t.heard.Before(at) {
				oldest, at = k, t.heard
			}
		}
		delete(d.relays, oldest)
	}
	t := &relayTrack{heard: now, holes: map[uint64]time.Time{}, fails: rate.NewLimiter(relayFailEach, relayFailEach*relayFailBurst)}
	d.relays[key] = t
	return t
}

// look notices numbers that did not come, and relays that have not said for
// too long how far they are.
func (d *RelayDoor) look(now time.Time) {
	id, why := "", ""
	d.mu.Lock()
	for key, t := range d.relays {
		if t.overdue(now) > 0 {
			id, why = key.id, "numbers are missing"
		}
		if !t.silent && now.Sub(t.heard) > relaySilence {
			t.silent = true
			id, why = key.id, "it fell silent"
		}
	}
	d.mu.Unlock()
	if why != "" {
		d.gap(id, why)
	}
}
