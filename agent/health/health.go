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

// Item is a declared kind of trouble.
type Item struct {
	Code     string
	Severity Severity
	Title    string
}

// Alert is one item that is raised now.
type Alert struct {
	Code     string    `json:"code"`
	Severity Severity  `json:"severity"`
	Title    string    `json:"title"`
	Subject  string    `json:"subject,omitempty"`
	Text     string    `json:"text"`
	Since    time.Time `json:"since"`
}

// Change is an item raised or cleared.
type Change struct {
	Alert
	Raised bool
	At     time.Time
}

// maxAlerts bounds what is kept, whatever the rooms do.
const maxAlerts = 1000

// Tracker holds the raised items. It is safe for concurrent use.
type Tracker struct {
	items    map[string]Item
	onChange func(Change)

	mu     sync.Mutex
	active map[string]Alert
}

// New builds a tracker of the declared items. onChange is called for every
// change, in order, without the tracker's lock; it may be nil.
func New(items []Item, onChange func(Change)) *Tracker {
	t := &Tracker{items: make(map[string]Item, len(items)), onChange: onChange, active: map[string]Alert{}}
	for _, it := range items {
		t.items[it.Code] = it
	}
	return t
}

// Raise sets an item. Raising it again with the same text is no change.
func (t *Tracker) Raise(code, subject, text string) {
	it, declared := t.items[code]
	if !declared {
		it = Item{Code: code, Severity: Warning, Title: strings.ReplaceAll(code, "_", " ")}
	}
	key, now := code+"\x00"+subject, time.Now().UTC()
	t.mu.Lock()
	old, had := t.active[key]
	if had && old.Text == text || !had && len(t.active) >= maxAlerts {
		t.mu.Unlock()
		return
	}
	a := Alert{Code: code, Severity: it.Severity, Title: it.Title, Subject: subject, Text: text, Since: now}
	if had {
		a.Since = old.Since
	}
	t.active[key] = a
	t.mu.Unlock()
	if t.onChange != nil && !had {
		t.onChange(Change{Alert: a, Raised: true, At: now})
	}
}

// Clear takes an item back; clearing what is not raised is no change.
func (t *Tracker) Clear(code, subject string) {
	key, now := code+"\x00"+subject, time.Now().UTC()
	t.mu.Lock()
	a, had := t.active[key]
	delete(t.active, key)
	t.mu.Unlock()
	if had && t.onChange != nil {
		t.onChange(Change{Alert: a, At: now})
	}
}

// Active lists what is raised now, gravest first, then oldest first.
func (t *Tracker) Active() []Alert {
	t.mu.Lock()
	out := make([]Alert, 0, len(t.active))
	for _, a := range t.active {
		out = append(out, a)
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
