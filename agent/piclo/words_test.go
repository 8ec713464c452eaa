package piclo

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"flexd/agent/flex"
)

func TestWordsInAnySpelling(t *testing.T) {
	id := []flex.InstructionID{"i1"}
	for _, tc := range []struct {
		field  string
		words  []string
		kind   flex.Kind
		stops  []flex.InstructionID
		reason flex.Reason
		tells  bool // as a word that is not understood, or no order
	}{
		{"type", []string{"Emergency Stop", "emergency-stop", "stop ", "STOP", "Cancelled_By_SO", "end", "stand down", "EStop", "void"}, flex.KindStop, nil, "", false},
		{"status", []string{"CANCELLED_BY_SO", "cancelled by the operator", "ended", "void", "Emergency-Stop", "stop ", "Withdrawn"}, flex.KindStop, id, "", false},
		{"type", []string{"Start", "START ", "dispatch", "Activate"}, flex.KindStart, nil, "", false},
		{"status", []string{"", "In Progress", "issued", "ACCEPTED"}, flex.KindStart, nil, "", false},
		{"type", []string{"draft", "TEST", "Dry Run", "test-event"}, flex.KindStart, nil, flex.ReasonNotForExecution, true},
		{"status", []string{"Draft", "test", "simulation"}, flex.KindStart, nil, flex.ReasonNotForExecution, true},
		{"type", []string{"hurry", "cancel failed"}, flex.KindStart, nil, flex.ReasonBadField, true},
		{"status", []string{"hurry", "completed", "stop rejected"}, flex.KindStart, nil, "", true},
	} {
		for _, w := range tc.words {
			value, _ := json.Marshal(w)
			in, err := embeddedProfile(t).instruction(change(t, tc.field, string(value)))
			if err != nil {
				t.Fatal(err)
			}
			if in.Kind != tc.kind || !slices.Equal(in.Stops, tc.stops) || (in.Unknown != "") != tc.tells || tc.tells && !strings.Contains(in.Unknown, w) {
				t.Errorf("%s %q: a %s of %v, not understood: %s", tc.field, w, in.Kind, in.Stops, in.Unknown)
			}
			if (len(in.Problems) > 0) != (tc.reason != "") || tc.reason != "" && in.Problems[0].Reason != tc.reason {
				t.Errorf("%s %q: %v", tc.field, w, in.Problems)
			}
		}
	}
}

// A word that is not known is content: it is told once more when it changes. One
// that is known is the market's book-keeping.
func TestUnknownWordsAreContent(t *testing.T) {
	content := func(status string) string {
		in, err := embeddedProfile(t).instruction(change(t, "status", status))
		if err != nil {
			t.Fatal(err)
		}
		return in.Content
	}
	if content(`"issued"`) != content(`"active"`) || content(`"issued"`) == content(`"hurry"`) || content(`"hurry"`) == content(`"hurry up"`) {
		t.Error("the content does not follow the words")
	}
}

func TestUnknownWordsMayBeStops(t *testing.T) {
	p := *embeddedProfile(t)
	p.unknownStops = true
	for field, stops := range map[string][]flex.InstructionID{"type": nil, "status": {"i1"}} {
		for word, kind := range map[string]flex.Kind{"hurry": flex.KindStop, "draft": flex.KindStart, "start": flex.KindStart} {
			in, err := p.instruction(change(t, field, `"`+word+`"`))
			if err != nil || in.Kind != kind || kind == flex.KindStop && !slices.Equal(in.Stops, stops) {
				t.Errorf("%s %s: a %s of %v", field, word, in.Kind, in.Stops)
			}
		}
	}
}

// The profile's own words come before the usual meanings.
func TestAProfilesOwnWords(t *testing.T) {
	p, err := LoadProfile(profileFile(t, "name: x\nstop: {type_words: [feierabend]}\ninstruction: {start_words: [end, los], status_words: [fertig], draft_words: [entwurf]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	for word, want := range map[string]flex.WordClass{"Feier-Abend": flex.WordStop, "END": flex.WordBegin, "los": flex.WordBegin, "Entwurf ": flex.WordNoOrder, "stop": flex.WordStop} {
		if got := p.classOf(word, p.Stop.TypeWords, p.Instruction.StartWords); got != want {
			t.Errorf("%q is %q, want %q", word, got, want)
		}
	}
}
