package dispatch

import (
	"strings"
	"testing"

	"flexd/agent/flex"
)

// By their priorities one waits for the other, and neither ends it; what would
// have no time at all is refused.
func TestPriorities(t *testing.T) {
	t.Run("one of a lower priority waits, and is not ended", func(t *testing.T) {
		rank := func(p int) func(flex.ObligationID, flex.CompetitionID) Contract {
			return func(flex.ObligationID, flex.CompetitionID) Contract { return Contract{Priority: p, Emergency: true} }
		}
		for _, tc := range []struct {
			name     string
			from, to int // of what is there, with priority 5; the new one has minutes 60 to 120
			priority int
			refused  bool
		}{
			{"the one that is there waits", 30, 150, 6, false},
			{"the new one has time before", 90, 150, 4, false},
			{"the new one has time afterwards", 30, 90, 4, false},
			{"the new one would only wait", 30, 150, 4, true},
			{"of equals the first keeps it", 30, 90, 5, true},
		} {
			old := openRecord("x", "other", tc.from, tc.to)
			old.Priority = 5
			v := Admit(offer(nil), Context{Now: stampAt(noon), Open: []flex.Record{old}, Contract: rank(tc.priority)})
			if tc.refused {
				if v.Records[0].Reason != flex.ReasonOverlap {
					t.Errorf("%s: %+v", tc.name, v.Records)
				}
				continue
			}
			if len(v.Records) != 1 || v.Records[0].State != flex.Scheduled || v.Records[0].Dispatch().Use != flex.UseEmergency || !strings.Contains(v.Note, " waits while ") {
				t.Errorf("%s: %s %+v", tc.name, v.Note, v.Records)
			}
		}
	})
	t.Run("two of a higher priority may leave no time between them", func(t *testing.T) {
		a, b := openRecord("x", "other", 30, 90), openRecord("y", "third", 90, 150)
		a.Priority, b.Priority = 5, 5
		if v := Admit(offer(nil), Context{Now: stampAt(noon), Open: []flex.Record{b, a}}); v.Records[0].Reason != flex.ReasonOverlap {
			t.Errorf("%+v", v.Records)
		}
	})
}
