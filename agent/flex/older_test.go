package flex

import (
	"encoding/json"
	"testing"
	"time"
)

// A record that an older release has stored is read as it was meant, and keeps
// its keys when it is stored again: an older release may have to read it.
func TestARecordOfAnOlderReleaseIsRead(t *testing.T) {
	const old = `{"v":1,"id":"i1","notification":"n1","door":"webhook","instruction":{"id":"i1"},"revision":1,"state":"active","conditions":["partial"],
		"window":{"start":"2026-03-01T17:00:00Z","end":"2026-03-01T18:00:00Z"},"begun":{"at":"2026-03-01T17:00:00Z","clock":"synced","boot":"b","since":90000000000},
		"moved":1500000000,"baselines":[{"asset":"a","method":"zero","start":"2026-03-01T17:00:00Z","step":1800000000000,"values":[0]}],
		"steps":[{"state":"active","fact":{"at":"2026-03-01T17:00:00Z","clock":"synced"}}]}`
	var r Record
	if err := json.Unmarshal([]byte(old), &r); err != nil {
		t.Fatal(err)
	}
	if r.Moved != 1500*time.Millisecond || r.Begun.Since != 90*time.Second || r.Baselines[0].Step != 30*time.Minute || len(r.History) != 0 {
		t.Errorf("read as %+v", r)
	}
	now := time.Date(2026, 3, 1, 17, 30, 0, 0, time.UTC)
	next := r.With(Partial, false).Chronicle(now, func(Condition) time.Time { return time.Time{} })
	if len(next.History) != 0 {
		t.Errorf("a condition whose beginning nobody knows is told as %+v", next.History)
	}
	raw, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var again map[string]json.RawMessage
	if err := json.Unmarshal(raw, &again); err != nil || string(again["moved"]) != "1500000000" {
		t.Errorf("stored again as %s (%v)", raw, err)
	}
}
