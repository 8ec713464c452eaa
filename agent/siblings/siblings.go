// Package siblings compares what the sites of one contract divide it by. Each
// of them computes its own share, from the capacities that it knows of all; one
// with an older figure delivers a little too much or too little, and nothing
// at any single site shows it. So each tells the others a hash of what it goes
// by, again and again, and says so where they differ. It only ever tells:
// nobody's share depends on what comes from there.
package siblings

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"flexd/agent/health"
)

// This room's health items.
const (
	CodeSharesDiffer     = "shares_differ"
	CodeSharesUncompared = "shares_not_compared"
)

// Items declares them.
var Items = []health.Item{
	{Code: CodeSharesDiffer, Severity: health.Alarm, Title: "Sites of one contract divide it by different capacities"},
	{Code: CodeSharesUncompared, Severity: health.Warning, Title: "Shares of a common contract are not compared with other sites"},
}

// Bounds. Whoever may publish to the group is believed for no more than an
// alarm, and takes no more than this of memory and time.
const (
	maxKeys    = 256
	maxSites   = 256
	maxName    = 160
	maxHash    = 64
	perSecond  = 50
	everyMost  = 5 * time.Minute
	everyLeast = time.Second
	lookMost   = 10 * time.Second
	frozenFor  = 10 * time.Second
	silence    = 3 // turns after which a site is forgotten
)

// Frozen begins the names of what does not change any more: with it no site is
// late.
const Frozen = "instruction "

// Config is what the comparison needs.
type Config struct {
	// Own is what this site goes by: by a name that all sites know it by, the
	// hash of the capacities.
	Own func(context.Context) (map[string]string, error)
	// Settle is how long a difference must last: sites do not hear of a new
	// capacity at the same time.
	Settle time.Duration
	Raise  func(code, subject, text string)
	Clear  func(code, subject string)
	Log    *slog.Logger
}

// Watch is the task "siblings".
type Watch struct {
	cfg   Config
	every time.Duration
	limit *rate.Limiter

	mu     sync.Mutex
	own    map[string]string
	due    bool
	said   time.Time
	sites  map[string]*site
	raised map[string]bool
	alone  time.Time // since when nobody is heard, while there is something to compare
	failed string    // why nothing is compared, as it was told last
}

// site is what another one says otherwise.
type site struct {
	heard time.Time
	odd   map[string]odd
}

type odd struct {
	hash  string
	since time.Time
}

// message is what goes to the group.
type message struct {
	Version int               `json:"v"`
	Hashes  map[string]string `json:"hashes"`
}

// New builds a comparison; nothing runs yet.
func New(cfg Config) *Watch {
	return &Watch{cfg: cfg, every: max(everyLeast, min(cfg.Settle/3, everyMost)), limit: rate.NewLimiter(perSecond, perSecond),
		own: map[string]string{}, sites: map[string]*site{}, raised: map[string]bool{}}
}

// Name is the task's name.
func (w *Watch) Name() string { return "siblings" }

// Run looks at what this site goes by, and at how long others differ.
func (w *Watch) Run(ctx context.Context) error {
	tick := time.NewTicker(max(everyLeast, min(w.cfg.Settle/6, lookMost)))
	defer tick.Stop()
	for {
		own, err := w.cfg.Own(ctx)
		if ctx.Err() != nil {
			return nil
		}
		now := time.Now()
		if err == nil {
			w.take(own, now)
		}
		w.judge(now)
		w.tell(err, now)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// tell says that nothing is compared, and why: that nobody differs proves
// nothing then.
func (w *Watch) tell(err error, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case len(w.own) == 0 && err == nil, len(w.sites) > 0:
		w.alone = time.Time{}
	case w.alone.IsZero():
		w.alone = now
	}
	why := ""
	switch {
	case err != nil:
		why = err.Error()
	case len(w.sites) >= maxSites:
		why = fmt.Sprintf("%d sites tell of themselves, more than there is room for: look at who may publish to the group", len(w.sites))
	case !w.alone.IsZero() && now.Sub(w.alone) > silence*w.every:
		why = "no other site of the group is heard: look at mqtt.group at the others, and at what the broker lets this site publish and read"
	}
	switch {
	case why != "":
		w.cfg.Raise(CodeSharesUncompared, "", why)
	case w.failed != "":
		w.cfg.Clear(CodeSharesUncompared, "")
	}
	w.failed = why
}

// take notes what this site goes by now. Where it changed, others have time to
// follow.
func (w *Watch) take(own map[string]string, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if maps.Equal(own, w.own) {
		return
	}
	for name, hash := range w.own {
		if own[name] == hash {
			continue
		}
		for _, s := range w.sites {
			delete(s.odd, name)
		}
	}
	w.own, w.due = own, true
}

// Say gives what to tell the group, nil for nothing now.
func (w *Watch) Say() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if len(w.own) == 0 || now.Sub(w.said) < w.every && !(w.due && now.Sub(w.said) >= everyLeast) {
		return nil
	}
	names := slices.Sorted(maps.Keys(w.own))
	m := message{Version: 1, Hashes: map[string]string{}}
	for _, name := range names[:min(len(names), maxKeys)] {
		m.Hashes[name] = w.own[name]
	}
	raw, err := json.Marshal(m)
	if err != nil {
		return nil // texts alone: cannot happen
	}
	w.due, w.said = false, now
	return raw
}

// Hear takes what another site told. Only what this site goes by as well is
// kept of it, and only while it differs.
func (w *Watch) Hear(name string, payload []byte) {
	now := time.Now()
	var m message
	if len(name) > maxName || !w.limit.AllowN(now, 1) || json.Unmarshal(payload, &m) != nil || m.Version != 1 || len(m.Hashes) > maxKeys {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.sites[name]
	if s == nil {
		if len(w.sites) >= maxSites {
			return
		}
		s = &site{odd: map[string]odd{}}
		w.sites[name] = s
	}
	s.heard = now
	for key, own := range w.own {
		theirs, told := m.Hashes[key]
		switch {
		case !told || theirs == own || len(theirs) > maxHash:
			delete(s.odd, key)
		case s.odd[key].since.IsZero(): // whatever it says: the difference goes on
			s.odd[key] = odd{theirs, now}
		}
	}
}

// judge raises what has lasted, and clears what is over.
func (w *Watch) judge(now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	who := map[string][]string{}
	for name, s := range w.sites {
		if now.Sub(s.heard) > silence*w.every {
			delete(w.sites, name)
			continue
		}
		for key, o := range s.odd {
			if _, ours := w.own[key]; ours && w.lasts(key, now.Sub(o.since), s.heard.Sub(o.since)) {
				who[key] = append(who[key], name)
			}
		}
	}
	for key := range w.raised {
		if who[key] == nil {
			w.cfg.Clear(CodeSharesDiffer, key)
			delete(w.raised, key)
		}
	}
	for key, names := range who {
		slices.Sort(names)
		w.raised[key] = true
		w.cfg.Raise(CodeSharesDiffer, key, fmt.Sprintf("%s go by other capacities here than this one, so that the shares do not add up to what is asked: "+
			"one of them has not heard of a change; compare the capacities of its assets at each: `flexd obligations`", listOf(names)))
	}
}

// lasts tells whether a difference stands for long enough, and is said so again.
func (w *Watch) lasts(key string, since, said time.Duration) bool {
	if strings.HasPrefix(key, Frozen) {
		return since >= frozenFor
	}
	return since >= w.cfg.Settle && said >= w.cfg.Settle/2
}

// listOf names a few.
func listOf(names []string) string {
	const few = 5
	if len(names) == 1 {
		return "site " + names[0]
	}
	text := "sites " + strings.Join(names[:min(few, len(names))], ", ")
	if more := len(names) - few; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
