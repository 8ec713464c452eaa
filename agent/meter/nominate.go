package meter

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// Bounds of a nomination: of one file, of what is kept, and how long.
const (
	MaxNomination = 1 << 20 // bytes
	mostValues    = 10_000  // of one file: a quarter of a year in quarters of an hour
	mostKept      = 40_000
	mostPieces    = 1000
	keepPieces    = 40 * 24 * time.Hour
)

// row is one stated power.
type row struct {
	start time.Time
	power flex.Watts
}

// ParseNomination reads mean powers, W, + towards the grid, each with the start
// of its step. CSV has a header:
//
//	start,kW
//	2026-10-25T00:00:00+01:00,-12.5
//
// and JSON is {"unit": "kW", "values": [{"start": "…", "power": -12.5}]}. Starts
// carry their offset, since local times come twice when the clocks go back;
// they follow one another in equal steps of 15, 30 or 60 minutes without a
// gap. Powers are exact to the watt.
func ParseNomination(text []byte) (flex.Stated, error) {
	var s flex.Stated
	if len(text) > MaxNomination {
		return s, fmt.Errorf("the nomination is larger than %d bytes: give it in parts", MaxNomination)
	}
	text = bytes.TrimPrefix(bytes.TrimSpace(text), []byte("\ufeff"))
	read := readCSV
	if len(text) > 0 && text[0] == '{' {
		read = readJSON
	}
	rows, where, err := read(text)
	if err != nil {
		return s, err
	}
	if len(rows) == 0 {
		return s, errors.New("the nomination holds no value: write a header (start,kW) and a line per half-hour")
	}
	s.Start, s.Step = rows[0].start.UTC(), halfHour
	if len(rows) > 1 {
		s.Step = rows[1].start.Sub(rows[0].start)
	}
	if !slices.Contains([]time.Duration{15 * time.Minute, halfHour, time.Hour}, s.Step) {
		return s, fmt.Errorf("%s: its start is %v after the one before: steps are 15, 30 or 60 minutes", where(1), s.Step)
	}
	for n, r := range rows {
		if want := s.Start.Add(time.Duration(n) * s.Step); !r.start.Equal(want) {
			return s, fmt.Errorf("%s: starts at %s, expected %s: every step is there once, in order", where(n), r.start.Format(time.RFC3339), want.Format(time.RFC3339))
		}
		if !r.start.Truncate(s.Step).Equal(r.start) {
			return s, fmt.Errorf("%s: %s is not on a full step of %v", where(n), r.start.Format(time.RFC3339), s.Step)
		}
		s.Values = append(s.Values, r.power)
	}
	return s, nil
}

func readCSV(text []byte) ([]row, func(int) string, error) {
	where := func(n int) string { return fmt.Sprintf("line %d", n+2) }
	r := csv.NewReader(bytes.NewReader(text))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.ReuseRecord = 2, true, true
	head, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, where, nil
	}
	if err != nil || !strings.EqualFold(strings.TrimSpace(head[0]), "start") {
		return nil, where, errors.New("line 1: write the header start,kW (or W, MW), then a line per step")
	}
	unit, err := unitOf(strings.TrimSpace(head[1]))
	if err != nil {
		return nil, where, fmt.Errorf("line 1: %w", err)
	}
	var rows []row
	for {
		f, err := r.Read()
		if errors.Is(err, io.EOF) {
			return rows, where, nil
		}
		if err != nil {
			return nil, where, fmt.Errorf("%s: write a start and a power, as in 2026-10-25T00:00:00Z,-12.5", where(len(rows)))
		}
		got, err := rowOf(strings.TrimSpace(f[0]), strings.TrimSpace(f[1]), unit)
		if err != nil {
			return nil, where, fmt.Errorf("%s: %w", where(len(rows)), err)
		}
		if rows = append(rows, got); len(rows) > mostValues {
			return nil, where, fmt.Errorf("more than %d values: give it in parts", mostValues)
		}
	}
}

func readJSON(text []byte) ([]row, func(int) string, error) {
	where := func(n int) string { return fmt.Sprintf("values[%d]", n) }
	var in struct {
		Unit   string `json:"unit"`
		Values []struct {
			Start string      `json:"start"`
			Power json.Number `json:"power"`
		} `json:"values"`
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&in); err != nil {
		return nil, where, fmt.Errorf(`cannot read the JSON: %w: write {"unit": "kW", "values": [{"start": "2026-10-25T00:00:00Z", "power": -12.5}]}`, err)
	}
	if dec.More() {
		return nil, where, errors.New("more than one JSON value")
	}
	unit, err := unitOf(in.Unit)
	if err != nil {
		return nil, where, err
	}
	if len(in.Values) > mostValues {
		return nil, where, fmt.Errorf("more than %d values: give it in parts", mostValues)
	}
	rows := make([]row, len(in.Values))
	for n, v := range in.Values {
		if rows[n], err = rowOf(v.Start, v.Power.String(), unit); err != nil {
			return nil, where, fmt.Errorf("%s: %w", where(n), err)
		}
	}
	return rows, where, nil
}

func unitOf(s string) (flex.Watts, error) {
	switch s {
	case "W":
		return flex.Watt, nil
	case "kW":
		return flex.Kilowatt, nil
	case "MW":
		return flex.Megawatt, nil
	}
	return 0, fmt.Errorf("the unit %q is none of W, kW, MW", clip(s))
}

func rowOf(start, power string, unit flex.Watts) (row, error) {
	t, err := time.Parse(time.RFC3339, start)
	if err != nil || t.Year() < 2000 || t.Year() > 2200 {
		return row{}, fmt.Errorf("%q is not a start with its offset, as in 2026-10-25T00:00:00+01:00 or …Z", clip(start))
	}
	w, err := flex.ParseDecimal(power, unit)
	if err != nil {
		return row{}, err
	}
	return row{t, w}, nil
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// Merge puts a piece in the place of what was stated for its time before, and
// drops what is long over. It gives a *flex.Refusal when there is no use or no
// room for it.
func Merge(nom flex.Nomination, s flex.Stated, now time.Time) (flex.Nomination, error) {
	if !s.End().After(now) {
		return nom, flex.Refuse(flex.ReasonTooLate, "the nomination ends at %s: it is over", stamp(s.End()))
	}
	out := flex.Nomination{Asset: nom.Asset}
	values := len(s.Values)
	for _, p := range nom.Pieces {
		for _, rest := range []flex.Stated{before(p, s.Start), after(p, s.End())} {
			if len(rest.Values) > 0 && now.Sub(rest.End()) < keepPieces {
				out.Pieces = append(out.Pieces, rest)
				values += len(rest.Values)
			}
		}
	}
	out.Pieces = append(out.Pieces, s)
	if values > mostKept || len(out.Pieces) > mostPieces {
		return nom, flex.Refuse(flex.ReasonTooLarge, "%d values in %d pieces are more than is kept: `flexd baseline clear` first", values, len(out.Pieces))
	}
	slices.SortFunc(out.Pieces, func(a, b flex.Stated) int { return a.Start.Compare(b.Start) })
	return out, nil
}

// before is the part of a piece whose steps end at t at the latest; a step that
// is cut goes.
func before(p flex.Stated, t time.Time) flex.Stated {
	n := max(0, min(int64(len(p.Values)), int64(t.Sub(p.Start)/p.Step)))
	p.Values = slices.Clone(p.Values[:n])
	return p
}

// after is the part whose steps begin at t at the earliest.
func after(p flex.Stated, t time.Time) flex.Stated {
	n := max(0, min(int64(len(p.Values)), int64((t.Sub(p.Start)+p.Step-1)/p.Step)))
	p.Start, p.Values = p.Start.Add(time.Duration(n)*p.Step), slices.Clone(p.Values[n:])
	return p
}
