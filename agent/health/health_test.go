package health

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestRaiseAndClearAnnounceEachChangeOnce(t *testing.T) {
	var got []Change
	tr := New([]Item{{Code: "release_owed", Severity: Alarm, Title: "a device is not released"}}, func(c Change) { got = append(got, c) })
	tr.Raise("release_owed", "bat1", "no answer")
	tr.Raise("release_owed", "bat1", "no answer")
	tr.Raise("release_owed", "bat1", "still no answer")
	tr.Clear("release_owed", "bat1")
	tr.Clear("release_owed", "bat1")
	if len(got) != 2 || !got[0].Raised || got[1].Raised || got[1].Text != "still no answer" {
		t.Errorf("changes = %+v, want raised once and cleared once with the latest text", got)
	}
}

func TestActiveListsTheGravestFirst(t *testing.T) {
	tr := New([]Item{{Code: "a", Severity: Info, Title: "a"}, {Code: "b", Severity: Alarm, Title: "b"}}, nil)
	tr.Raise("a", "", "x")
	tr.Raise("undeclared_thing", "", "x")
	tr.Raise("b", "", "x")
	active := tr.Active()
	if len(active) != 3 || active[0].Code != "b" || active[1].Code != "undeclared_thing" || active[1].Severity != Warning {
		t.Errorf("active = %+v, want alarm, warning, info", active)
	}
	if tr.Worst() != Alarm {
		t.Errorf("worst = %s, want alarm", tr.Worst())
	}
}

func TestWhatIsKeptIsBounded(t *testing.T) {
	tr := New(nil, nil)
	for i := range 3 * maxAlerts {
		tr.Raise("x", string(rune(i+1)), "t")
	}
	if n := len(tr.Active()); n != maxAlerts {
		t.Errorf("kept %d, want %d", n, maxAlerts)
	}
}

// A part that fails and is tried again for six minutes is one alarm: raised
// once, and cleared once when it has stayed good.
func TestWhatIsTriedAgainStaysRaised(t *testing.T) {
	for _, tc := range []struct {
		name string
		calm time.Duration
		most int // pairs
	}{{"declared", time.Minute, 1}, {"found out", 0, 2}} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var got []Change
				tr := New([]Item{{Code: "x", Severity: Warning, Calm: tc.calm}}, func(c Change) { mu.Lock(); got = append(got, c); mu.Unlock() })
				defer tr.Close()
				for end := time.Now().Add(6 * time.Minute); time.Now().Before(end); time.Sleep(3 * time.Second) {
					tr.Raise("x", "", "again")
					time.Sleep(300 * time.Millisecond)
					tr.Clear("x", "")
				}
				if a := tr.Active(); len(a) != 1 || a[0].GoodSince.IsZero() {
					t.Errorf("while it is good for a moment: %+v", a)
				}
				time.Sleep(11 * time.Minute)
				mu.Lock()
				defer mu.Unlock()
				if len(got) > 2*tc.most || len(tr.Active()) != 0 || got[len(got)-1].Raised {
					t.Errorf("%d changes: %+v", len(got), got)
				}
			})
		})
	}
}

// What comes back long after is cleared at once again.
func TestCalmIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := New([]Item{{Code: "x"}}, nil)
		for range 5 {
			tr.Raise("x", "", "t")
			tr.Clear("x", "")
			if len(tr.Active()) != 0 {
				t.Fatal("it stays raised")
			}
			time.Sleep(time.Minute)
		}
	})
}

// Whatever races, the last change that is told is the state that stands.
func TestChangesAreToldInTheirOrder(t *testing.T) {
	for range 20_000 {
		var last Change
		tr := New(nil, func(c Change) { last = c })
		tr.Raise("x", "", "t")
		var wg sync.WaitGroup
		wg.Go(func() { tr.Clear("x", "") })
		wg.Go(func() { tr.Raise("x", "", "u") })
		wg.Wait()
		if stands := len(tr.Active()) == 1; stands != last.Raised {
			t.Fatalf("it stands: %v, told last: %v", stands, last.Raised)
		}
	}
}
