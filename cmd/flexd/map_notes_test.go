package main

import (
	"strings"
	"testing"

	"flexd/agent/config"
)

// A check tells before anything is connected what of a map is doubtful, and
// what its device goes on with if flexd is gone.
func TestACheckTellsWhatAMapIsNotSureOf(t *testing.T) {
	c := &config.Config{Devices: []config.Device{{ID: "se", Map: "solaredge-storedge"}, {ID: "gx", Map: "victron-gx"}, {ID: "sun"}, {ID: "lost", Map: "nowhere"}}}
	got := strings.Join(mapNotes(c), "\n")
	for _, want := range []string{"device se: 1 of its register map solaredge-storedge is doubtful", "device se: if flexd is gone, set: charge, discharge",
		"device gx: if flexd is gone, set: it does not fall back: the last setpoint stays"} {
		if !strings.Contains(got, want) {
			t.Errorf("no word of %q in:\n%s", want, got)
		}
	}
	if strings.Contains(got, "sun") || strings.Contains(got, "lost") {
		t.Errorf("told of no map:\n%s", got)
	}
}
