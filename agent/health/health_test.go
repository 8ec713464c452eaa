package health

import "testing"

func TestRaiseAndClearAnnounceEachChangeOnce(t *testing.T) {
	var got []Change
	tr := New([]Item{{"release_owed", Alarm, "a device is not released"}}, func(c Change) { got = append(got, c) })
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
	tr := New([]Item{{"a", Info, "a"}, {"b", Alarm, "b"}}, nil)
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
