// Package health keeps the declared alarms and notices of the agent.
//
// In: rooms raise and clear items by code and subject. Out: the list of what
// is wrong now, and a call for every change, from which status, page and
// broker all read the same truth. It never decides anything.
package health

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Severity grades an item.
type Severity string

// Info is worth knowing, Warning needs a look, Alarm needs a person now.
const (
	Info    Severity = "info"
	Warning Severity = "warning"
	Alarm   Severity = "alarm"
)

// Codes that more than one room raises; one of them declares the item.
const (
	CodeStoreFailing = "store_failing" // what is decided cannot be stored
	CodeReleaseOwed  = "release_owed"  // by device, and by instruction
)

// Item is a declared kind of trouble.
type Item struct {
	Code     string
	Severity Severity
	Title    string
	// Calm is for how long it must have stayed good before it is cleared:
	// what is tried again and again is one trouble, not many.
	Calm time.Duration
}

// Alert is one item that is raised now.
type Alert struct {
	Code     string    `json:"code"`
	Severity Severity  `json:"severity"`
	Title    string    `json:"title"`
	Subject  string    `json:"subject,omitempty"`
	Text     string    `json:"text"`
	Since    time.Time `json:"since"`
	// GoodSince is since when it has been good again; it is cleared when it
	// stays so.
	GoodSince time.Time `json:"good_since,omitzero"`
}

// Change is an item raised or cleared.
type Change struct {
	Alert
	Raised bool
	At     time.Time
}

// maxAlerts bounds what is kept, whatever the rooms do.
const maxAlerts = 1000

// What comes back soon after it was cleared must stay good for longer each
// time: from calmLeast, twice as long every time, up to calmMost.
const (
	calmLeast = 30 * time.Second
	calmMost  = 10 * time.Minute
)

// Tracker holds the raised items. It is safe for concurrent use.
type Tracker struct {
	items    map[string]Item
	onChange func(Change)

	mu      sync.Mutex
	active  map[key]*standing
	calmed  map[key]calmed
	queue   []Change
	telling bool // somebody calls onChange
}

type key struct{ code, subject string }

// standing is an alert with what its end waits for.
type standing struct {
	Alert
	calm  time.Duration
	clear *time.Timer // runs while it is good again
}

// calmed remembers an alert that was cleared: it may flutter.
type calmed struct {
	at   time.Time
	calm time.Duration
}

// New builds a tracker of the declared items. onChange is called for every
// change, in their order and one at a time, without the tracker's lock; it may
// be nil.
func New(items []Item, onChange func(Change)) *Tracker {
	t := &Tracker{items: make(map[string]Item, len(items)), onChange: onChange, active: map[key]*standing{}, calmed: map[key]calmed{}}
	for _, it := range items {
		t.items[it.Code] = it
	}
	return t
}

// Raise sets an item. Raising it again is no change; its text is the latest.
func (t *Tracker) Raise(code, subject, text string) {
	it, declared := t.items[code]
	if !declared {
		it = Item{Code: code, Severity: Warning, Title: strings.ReplaceAll(code, "_", " ")}
	}
	k, now := key{code, subject}, time.Now()
	t.mu.Lock()
	if s := t.active[k]; s != nil {
		s.Text, s.GoodSince = text, time.Time{}
		s.settle()
		t.mu.Unlock()
		return
	}
	if len(t.active) >= maxAlerts {
		t.mu.Unlock()
		return
	}
	s := &standing{Alert: Alert{Code: code, Severity: it.Severity, Title: it.Title, Subject: subject, Text: text, Since: now.UTC()}, calm: it.Calm}
	if last, was := t.calmed[k]; was && now.Sub(last.at) < max(calmLeast, 10*last.calm) {
		s.calm = min(max(calmLeast, 2*last.calm), calmMost)
	}
	delete(t.calmed, k)
	t.active[k] = s
	t.queue = append(t.queue, Change{Alert: s.Alert, Raised: true, At: s.Since})
	t.mu.Unlock()
	t.tell()
}

// settle stops waiting for the end; the tracker's lock is held.
func (s *standing) settle() {
	if s.clear != nil {
		s.clear.Stop()
		s.clear = nil
	}
}

// Clear takes an item back, once it has stayed good for as long as it must;
// clearing what is not raised is no change.
func (t *Tracker) Clear(code, subject string) {
	k, now := key{code, subject}, time.Now()
	t.mu.Lock()
	s := t.active[k]
	switch {
	case s == nil, s.clear != nil:
		t.mu.Unlock()
		return
	case s.calm > 0:
		s.GoodSince = now.UTC()
		s.clear = time.AfterFunc(s.calm, func() { t.end(k, s) })
		t.mu.Unlock()
		return
	}
	t.drop(k, s, now)
	t.mu.Unlock()
	t.tell()
}

// end clears an alert that has stayed good.
func (t *Tracker) end(k key, s *standing) {
	t.mu.Lock()
	if t.active[k] != s || s.GoodSince.IsZero() {
		t.mu.Unlock()
		return
	}
	t.drop(k, s, time.Now())
	t.mu.Unlock()
	t.tell()
}

// drop takes an alert out; the tracker's lock is held.
func (t *Tracker) drop(k key, s *standing, now time.Time) {
	s.settle()
	delete(t.active, k)
	if len(t.calmed) >= maxAlerts {
		clear(t.calmed)
	}
	t.calmed[k] = calmed{at: now, calm: s.calm}
	t.queue = append(t.queue, Change{Alert: s.Alert, At: now.UTC()})
}

// tell announces what is queued. Whoever comes while it is being told leaves
// the rest to the one who tells: so the order stays that of the changes.
func (t *Tracker) tell() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.telling {
		return
	}
	t.telling = true
	for len(t.queue) > 0 {
		c := t.queue[0]
		t.queue = t.queue[1:]
		if t.onChange == nil {
			continue
		}
		t.mu.Unlock()
		t.onChange(c)
		t.mu.Lock()
	}
	t.telling, t.queue = false, nil
}

// Close ends what waits: nothing is announced by itself any more.
func (t *Tracker) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range t.active {
		s.settle()
	}
}

// Active lists what is raised now, gravest first, then oldest first.
func (t *Tracker) Active() []Alert {
	t.mu.Lock()
	out := make([]Alert, 0, len(t.active))
	for _, s := range t.active {
		out = append(out, s.Alert)
	}
	t.mu.Unlock()
	rank := map[Severity]int{Alarm: 0, Warning: 1, Info: 2}
	slices.SortFunc(out, func(a, b Alert) int {
		if d := rank[a.Severity] - rank[b.Severity]; d != 0 {
			return d
		}
		if d := a.Since.Compare(b.Since); d != 0 {
			return d
		}
		return strings.Compare(a.Code+a.Subject, b.Code+b.Subject)
	})
	return out
}

// Worst is the gravest severity raised now, or "" when nothing is.
func (t *Tracker) Worst() Severity {
	if active := t.Active(); len(active) > 0 {
		return active[0].Severity
	}
	return ""
}
