package meter

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

func TestNominationsAreReadExactly(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"csv", "start,kW\n2026-10-25T00:00:00+01:00,-12.5\n2026-10-25T00:30:00+01:00,0.001\n", "2026-10-24T23:00:00Z 30m0s [-12500 1]"},
		{"csv of the doubled hour", "start,W\r\n2026-10-25T01:30:00+01:00,1\r\n2026-10-25T01:00:00Z,2\r\n2026-10-25T01:30:00Z,3\r\n", "2026-10-25T00:30:00Z 30m0s [1 2 3]"},
		{"one value is a half-hour", "Start, MW\n2026-10-25T00:00:00Z, 0.05", "2026-10-25T00:00:00Z 30m0s [50000]"},
		{"json", `{"unit":"kW","values":[{"start":"2026-10-25T00:00:00Z","power":1.25},{"start":"2026-10-25T00:15:00Z","power":"-2"}]}`, "2026-10-25T00:00:00Z 15m0s [1250 -2000]"},
	} {
		s, err := ParseNomination([]byte(c.text))
		if got := fmt.Sprintf("%s %v %d", s.Start.Format(time.RFC3339), s.Step, s.Values); err != nil || got != c.want {
			t.Errorf("%s: %s, %v", c.name, got, err)
		}
	}
}

func TestWhatIsWrongWithANomination(t *testing.T) {
	head := "start,kW\n"
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "holds no value"},
		{"only a header", head, "holds no value"},
		{"no header", "2026-10-25T00:00:00Z,1\n", "line 1: write the header"},
		{"a unit nobody knows", "start,GW\n", `the unit "GW" is none of`},
		{"a local time", head + "2026-10-25 01:30,1\n", "line 2: \"2026-10-25 01:30\" is not a start with its offset"},
		{"finer than a watt", head + "2026-10-25T00:00:00Z,0.0001\n", "finer than one watt"},
		{"a power that is none", head + "2026-10-25T00:00:00Z,1x3\n", "line 2: \"1x3\" is not a decimal number"},
		{"a power too large", head + "2026-10-25T00:00:00Z,10000001\n", "out of range"},
		{"three columns", head + "2026-10-25T00:00:00Z,1,2\n", "line 2: write a start and a power"},
		{"a gap", head + "2026-10-25T00:00:00Z,1\n2026-10-25T00:30:00Z,1\n2026-10-25T01:30:00Z,1\n", "line 4: starts at 2026-10-25T01:30:00Z, expected 2026-10-25T01:00:00Z"},
		{"twice", head + "2026-10-25T00:00:00Z,1\n2026-10-25T00:00:00Z,1\n", "line 3: its start is 0s after"},
		{"backwards", head + "2026-10-25T00:30:00Z,1\n2026-10-25T00:00:00Z,1\n", "steps are 15, 30 or 60 minutes"},
		{"an odd step", head + "2026-10-25T00:00:00Z,1\n2026-10-25T00:20:00Z,1\n", "steps are 15, 30 or 60 minutes"},
		{"not on the half-hour", head + "2026-10-25T00:10:00Z,1\n2026-10-25T00:40:00Z,1\n", "line 2: 2026-10-25T00:10:00Z is not on a full step"},
		{"json of another kind", `{"unit":"kW","rows":[]}`, "cannot read the JSON"},
		{"json without a power", `{"unit":"kW","values":[{"start":"2026-10-25T00:00:00Z"}]}`, "values[0]"},
		{"two jsons", `{"unit":"kW","values":[]} {}`, "more than one"},
		{"too many", head + strings.Repeat("2026-10-25T00:00:00Z,1\n", mostValues+1), "give it in parts"},
		{"too large", strings.Repeat("x", MaxNomination+1), "larger than"},
	} {
		if _, err := ParseNomination([]byte(c.text)); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// Whatever is stated in whatever order: every instant has what was stated for
// it last, as far as whole steps of it are left, and pieces never overlap.
func TestTheLastStatementCounts(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		var nom flex.Nomination
		var said []flex.Stated
		for n := range 8 {
			step := []time.Duration{15 * time.Minute, halfHour, time.Hour}[rnd.IntN(3)]
			s := flex.Stated{Start: t0.Truncate(time.Hour).Add(time.Duration(rnd.IntN(40)) * time.Hour).Add(step), Step: step, By: fmt.Sprint(n)}
			for range 1 + rnd.IntN(20) {
				s.Values = append(s.Values, flex.Watts(1000*n+len(s.Values)))
			}
			var err error
			if nom, err = Merge(nom, s, t0); err != nil {
				t.Fatal(err)
			}
			said = append(said, s)
		}
		for at := t0; at.Before(t0.Add(70 * time.Hour)); at = at.Add(15 * time.Minute) {
			got, p, ok := statedAt(nom.Pieces, at)
			for n := len(said) - 1; n >= 0; n-- {
				w, _, there := statedAt(said[n:n+1], at)
				if !there {
					continue
				}
				if ok && got != w || !ok && n == len(said)-1 {
					t.Fatalf("at %v: %v of %s, want %v of %s", at, got, p.By, w, said[n].By)
				}
				break
			}
		}
		for n := 1; n < len(nom.Pieces); n++ {
			if nom.Pieces[n].Start.Before(nom.Pieces[n-1].End()) {
				t.Fatalf("pieces overlap: %+v", nom.Pieces)
			}
		}
	}
}

func TestMergeIsBounded(t *testing.T) {
	old := stated(-2*24*60, 10, halfHour, 1, t0)
	if _, err := Merge(flex.Nomination{}, old, t0); err == nil || !strings.Contains(err.Error(), "it is over") {
		t.Errorf("%v", err)
	}
	nom := flex.Nomination{Pieces: []flex.Stated{stated(-50*24*60, 10, halfHour, 1, t0)}}
	nom, err := Merge(nom, stated(0, 10, halfHour, 1, t0), t0)
	if err != nil || len(nom.Pieces) != 1 {
		t.Errorf("%+v, %v", nom, err)
	}
	for n := range 10 {
		nom, err = Merge(nom, stated(n*30*mostValues, mostValues, halfHour, 1, t0), t0)
		if err != nil {
			break
		}
	}
	if _, refused := flex.RefusalOf(err); !refused {
		t.Errorf("%d pieces, %v", len(nom.Pieces), err)
	}
}

func FuzzParseNomination(f *testing.F) {
	f.Add([]byte("start,kW\n2026-10-25T00:00:00+01:00,-12.5\n2026-10-25T00:30:00+01:00,0.001\n"))
	f.Add([]byte(`{"unit":"kW","values":[{"start":"2026-10-25T00:00:00Z","power":1.25}]}`))
	f.Add([]byte("start,W\n\"2026"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := ParseNomination(text)
		if err != nil {
			return
		}
		if len(s.Values) == 0 || s.Step < 15*time.Minute || !s.Start.Truncate(s.Step).Equal(s.Start) || s.Start.Location() != time.UTC {
			t.Errorf("%+v", s)
		}
		if _, err := Merge(flex.Nomination{}, s, s.Start); err != nil {
			t.Error(err)
		}
	})
}
