package siblings

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
)

// group is what sites tell one another, and their alarms.
type group struct {
	mu     sync.Mutex
	own    []map[string]string
	watch  []*Watch
	raised []map[string]string // that they differ
	blind  []map[string]string // that nothing is compared
}

func (g *group) of(code string) []map[string]string {
	if code == CodeSharesDiffer {
		return g.raised
	}
	return g.blind
}

func newGroup(t *testing.T, n int, settle time.Duration) *group {
	g := &group{}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	t.Cleanup(func() { cancel(); wg.Wait() })
	for i := range n {
		g.set(func() { // those before it run already
			g.own, g.raised = append(g.own, map[string]string{"contract c": "new"}), append(g.raised, map[string]string{})
			g.blind = append(g.blind, map[string]string{})
		})
		w := New(Config{Settle: settle, Log: slog.New(slog.DiscardHandler),
			Own: func(context.Context) (map[string]string, error) {
				g.mu.Lock()
				defer g.mu.Unlock()
				if g.own[i] == nil {
					return nil, errors.New("the store hangs")
				}
				return g.own[i], nil
			},
			Raise: func(code, subject, text string) { g.set(func() { g.of(code)[i][subject] = text }) },
			Clear: func(code, subject string) { g.set(func() { delete(g.of(code)[i], subject) }) }})
		g.watch = append(g.watch, w)
		wg.Go(func() { _ = w.Run(ctx) })
	}
	return g
}

func (g *group) set(fn func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fn()
}

// pass lets time pass, and everybody hear everybody but who is away.
func (g *group) pass(d time.Duration, away ...int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		synctest.Wait()
		for i, w := range g.watch {
			body := w.Say()
			if body == nil || len(away) > 0 && away[0] == i {
				continue
			}
			for j, other := range g.watch {
				if j != i {
					other.Hear(fmt.Sprintf("site-%d", i), body)
				}
			}
		}
	}
	synctest.Wait()
}

func (g *group) alarms() (out []int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, r := range g.raised {
		out = append(out, len(r))
	}
	return out
}

func (g *group) want(t *testing.T, when string, want ...int) {
	t.Helper()
	if got := g.alarms(); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: %v alarms, want %v", when, got, want)
	}
}

// Only a difference that lasts is told, and no longer than it lasts.
func TestOneSiteWithAnOlderCapacity(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		const settle = 45 * time.Minute
		g := newGroup(t, 3, settle)
		g.pass(2 * time.Hour)
		g.want(t, "all alike", 0, 0, 0)
		g.set(func() { g.own[0] = map[string]string{"contract c": "newer", "contract of my own": "x"} })
		g.pass(settle / 2)
		g.want(t, "one is ahead", 0, 0, 0)
		g.set(func() { g.own[1] = map[string]string{"contract c": "newer"} })
		g.pass(10 * time.Minute)
		g.want(t, "the others follow one by one", 0, 0, 0)
		g.pass(time.Hour)
		g.want(t, "one does not", 1, 1, 1)
		if text := g.raised[2]["contract c"]; !strings.Contains(text, "sites site-0, site-1") || !strings.Contains(text, "flexd obligations") {
			t.Errorf("it is told as %q", text)
		}
		g.set(func() { g.own[2] = nil }) // it cannot say any more what it goes by
		g.pass(10 * time.Minute)
		g.want(t, "a passing error changes nothing", 1, 1, 1)
		g.set(func() { g.own[2] = map[string]string{"contract c": "newer"} })
		g.pass(10 * time.Minute)
		g.want(t, "it follows at last", 0, 0, 0)
	})
}

// What was instructed is divided once and for all: there is nothing to wait for.
func TestAnInstructionThatIsDividedDifferently(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 2, time.Hour)
		g.pass(time.Minute)
		g.set(func() {
			g.own[0] = map[string]string{"contract c": "new", Frozen + "i1 revision 1": "x"}
			g.own[1] = map[string]string{"contract c": "new", Frozen + "i1 revision 1": "y"}
		})
		g.pass(6 * time.Minute)
		g.want(t, "it is told", 1, 1)
		g.set(func() {
			g.own[0], g.own[1] = map[string]string{"contract c": "new"}, map[string]string{"contract c": "new"}
		})
		g.pass(time.Minute)
		g.want(t, "it is over", 0, 0)
	})
}

// Who is not heard any more cannot be said to differ.
func TestASiteThatIsGoneIsForgotten(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		const settle = 30 * time.Second
		g := newGroup(t, 2, settle)
		g.set(func() { g.own[1] = map[string]string{"contract c": "older"} })
		g.pass(2 * settle)
		g.want(t, "they differ", 1, 1)
		g.pass(2*settle, 1)
		g.want(t, "one is gone", 0, 1)
	})
}

// Whoever may write to the group makes nobody use memory without bound, and
// one word alone condemns nobody.
func TestHostileMessages(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 1, 30*time.Second)
		synctest.Wait()
		w := g.watch[0]
		told := func(n int, hash string) []byte {
			m := message{Version: 1, Hashes: map[string]string{"contract c": hash}}
			for i := range n {
				m.Hashes[fmt.Sprint("other ", i)] = "x"
			}
			raw, _ := json.Marshal(m)
			return raw
		}
		for i := range 10_000 {
			w.Hear(fmt.Sprint("s", i), told(10, "odd"))
			w.Hear(strings.Repeat("s", 1000), told(0, "odd"))
			for _, raw := range []string{"", "null", "[]", "{}", `{"v":1,"hashes":7}`, `{"v":2,"hashes":{"contract c":"odd"}}`, strings.Repeat("[", 10_000)} {
				w.Hear("a", []byte(raw))
			}
			time.Sleep(10 * time.Millisecond)
		}
		w.Hear("many", told(maxKeys, "odd"))
		w.mu.Lock()
		kept := 0
		for _, s := range w.sites {
			kept += len(s.odd)
		}
		if len(w.sites) > maxSites || kept > maxSites {
			t.Errorf("%d sites and %d words are kept", len(w.sites), kept)
		}
		w.mu.Unlock()
		time.Sleep(10 * time.Minute)
		w.Hear("once", told(0, "odd"))
		time.Sleep(31 * time.Second)
		synctest.Wait()
		g.want(t, "one word", 0)
	})
}

// That nobody differs proves nothing where nobody is heard, where this site
// cannot read what it goes by, or where strangers have filled the table.
func TestThatNothingIsComparedIsTold(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		const settle = 30 * time.Second
		g := newGroup(t, 2, settle)
		told := func(what, want string) {
			t.Helper()
			synctest.Wait()
			g.set(func() {
				if got := g.blind[0][""]; got == "" != (want == "") || !strings.Contains(got, want) {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			})
		}
		g.pass(2 * settle)
		told("both are heard", "")
		g.pass(settle, 1) // forgotten, and not for long yet
		told("the other is gone a moment", "")
		g.pass(2*settle, 1)
		told("the other is gone", "no other site of the group is heard")
		g.pass(settle)
		told("it is back", "")
		own := g.own[0]
		g.set(func() { g.own[0] = nil })
		g.pass(settle)
		told("the store hangs", "the store hangs")
		g.set(func() { g.own[0] = own })
		g.pass(settle)
		told("it works again", "")
		for i := range 2 * maxSites {
			g.watch[0].Hear(fmt.Sprint("stranger ", i), []byte(`{"v":1,"hashes":{}}`))
			time.Sleep(20 * time.Millisecond)
		}
		g.pass(10 * time.Second)
		told("strangers", "more than there is room for")
	})
}

// A site that shares no contract with another has nothing to compare.
func TestASiteWithContractsOfItsOwnIsNotTold(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		g := newGroup(t, 1, 30*time.Second)
		g.set(func() { g.own[0] = map[string]string{} })
		g.pass(10 * time.Minute)
		g.set(func() {
			if len(g.blind[0]) > 0 {
				t.Errorf("%v", g.blind[0])
			}
		})
	})
}
