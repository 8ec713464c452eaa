package dispatch

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// other is a dispatch of another contract for asset a.
func other(id flex.InstructionID, state flex.State, start, end time.Time) flex.Record {
	r := flex.Record{ID: id, Obligation: "other", State: state, Window: flex.Window{Start: start, End: end}, Shares: []flex.AssetShare{{Asset: "a", Power: 1000}}}
	if state == flex.Active || state == flex.Completed {
		r.FirstWrite = start
	}
	return r
}

// The offer is for asset a from noon+1h for an hour; a rests for half an hour
// and runs for ten minutes at least.
func TestPaceOfAnAsset(t *testing.T) {
	at := func(m int) time.Time { return noon.Add(time.Duration(m) * time.Minute) }
	stopped := other("x", flex.Active, at(0), at(110))
	stopped.StopAt = at(45)
	drill := other("x", flex.Active, at(30), at(45))
	drill.Instruction.Test = true
	for _, tt := range []struct {
		name   string
		change func(*flex.Offer)
		open   []flex.Record
		ended  []flex.Record
		now    time.Time
		reason flex.Reason // "": scheduled
		text   string
	}{
		{name: "nothing ran"},
		{name: "it has rested", ended: []flex.Record{other("x", flex.Completed, at(0), at(30))}},
		{name: "a second too early", ended: []flex.Record{other("x", flex.Completed, at(0), at(30).Add(time.Second))}, reason: flex.ReasonRecovery, text: "after instruction x it can start at 2026-06-01T13:00:01Z"},
		{name: "after one that runs", open: []flex.Record{other("x", flex.Active, at(0), at(45))}, reason: flex.ReasonRecovery},
		{name: "after one that was stopped", open: []flex.Record{stopped}, reason: flex.ReasonRecovery},
		{name: "it goes on from one to the next", open: []flex.Record{other("x", flex.Active, at(0), at(60))}},
		{name: "no rest before what is promised", open: []flex.Record{other("x", flex.Scheduled, at(140), at(200))}, reason: flex.ReasonRecovery, text: "would have to end at"},
		{name: "rest before what is promised", open: []flex.Record{other("x", flex.Scheduled, at(150), at(200))}},
		{name: "it goes on to what is promised", open: []flex.Record{other("x", flex.Scheduled, at(120), at(200))}},
		{name: "another asset", ended: []flex.Record{func() flex.Record { r := other("x", flex.Completed, at(0), at(45)); r.Shares[0].Asset = "b"; return r }()}},
		{name: "a rehearsal is in nobody's way", open: []flex.Record{drill}},
		{name: "its own earlier revision", open: []flex.Record{func() flex.Record { r := other("i", flex.Scheduled, at(0), at(45)); r.Obligation = "ob"; return r }()}},
		{name: "long enough", change: func(o *flex.Offer) { o.Instruction.Window.End = at(70) }},
		{name: "too short", change: func(o *flex.Offer) { o.Instruction.Window.End = at(69) }, reason: flex.ReasonMinRun, text: "asset a runs for at least 10m0s once started, and 9m0s is left"},
		{name: "too little is left", now: at(115), reason: flex.ReasonMinRun, text: "5m0s is left"},
		{name: "a stop always counts", change: func(o *flex.Offer) { o.Instruction.Kind = flex.KindStop }, reason: flex.ReasonStopped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := Context{Now: stampAt(noon), Open: tt.open, Ended: tt.ended, Pace: func(id flex.AssetID) Pace {
				if id == "a" {
					return Pace{MinRun: 10 * time.Minute, Recovery: 30 * time.Minute}
				}
				return Pace{}
			}}
			if !tt.now.IsZero() {
				c.Now = stampAt(tt.now)
			}
			if len(tt.open) > 0 && tt.open[0].ID == "i" {
				c.Existing = &tt.open[0]
			}
			v := Admit(offer(tt.change), c)
			if tt.reason == flex.ReasonStopped {
				if len(v.Tombstones) != 1 {
					t.Errorf("the stop was not taken: %+v", v)
				}
				return
			}
			rec := v.Records[0]
			if tt.reason == "" && rec.State != flex.Scheduled || tt.reason != "" && (rec.State != flex.Refused || rec.Reason != tt.reason) {
				t.Fatalf("%s (%s: %s), want %q", rec.State, rec.Reason, rec.Text, tt.reason)
			}
			if !strings.Contains(rec.Text, tt.text) {
				t.Errorf("%q does not say %q", rec.Text, tt.text)
			}
		})
	}
}

func TestWhatRunsMayBeShortenedBelowItsLeastRun(t *testing.T) {
	old := other("i", flex.Active, noon.Add(time.Hour), noon.Add(2*time.Hour))
	old.Obligation, old.Revision, old.Steps = "ob", 1, []flex.Transition{{State: flex.Active}}
	o := offer(func(o *flex.Offer) {
		o.Instruction.Window.End, o.Instruction.Content = noon.Add(65*time.Minute), "c2"
	})
	v := Admit(o, Context{Now: stampAt(noon.Add(time.Hour + time.Minute)), Existing: &old, Open: []flex.Record{old}, Pace: func(flex.AssetID) Pace { return Pace{MinRun: 10 * time.Minute} }})
	if r := v.Records[0]; r.State == flex.Refused || !r.Window.End.Equal(noon.Add(65*time.Minute)) {
		t.Errorf("the shorter window was not taken: %+v", r)
	}
}

func TestAnAssetThatRestsIsWithheldFromTheOthers(t *testing.T) {
	o := offer(func(o *flex.Offer) {
		o.Instruction.Assets, o.Ours = []flex.AssetID{"a", "z"}, []flex.AssetID{"a", "z"}
		o.Named = append(o.Named, flex.MarketAsset{ID: "z", Export: 10_000})
	})
	v := Admit(o, Context{Now: stampAt(noon), Ended: []flex.Record{other("x", flex.Completed, noon, noon.Add(45*time.Minute))}, Pace: func(id flex.AssetID) Pace {
		if id == "a" {
			return Pace{Recovery: 30 * time.Minute}
		}
		return Pace{}
	}})
	r := v.Records[0]
	if r.State != flex.Scheduled || len(r.Shares) != 1 || r.Shares[0].Asset != "z" || len(r.Withheld) != 1 || !r.Has(flex.Partial) || !strings.Contains(v.Note, "rests for 30m0s") {
		t.Errorf("%+v\n%s", r, v.Note)
	}
}

func TestTheDispatchThatEndedLastIsRemembered(t *testing.T) {
	m := rested{}
	m.note(other("b", flex.Completed, noon, noon.Add(2*time.Hour)))
	m.note(other("a", flex.Completed, noon, noon.Add(time.Hour)))
	m.note(other("c", flex.Active, noon, noon.Add(3*time.Hour)))
	never := other("d", flex.Completed, noon, noon.Add(4*time.Hour))
	never.FirstWrite = time.Time{}
	m.note(never)
	if l := m.list(); len(l) != 1 || l[0].ID != "b" {
		t.Errorf("remembered %+v, want b", l)
	}
}

// What a device's memory does not stand is refused before it is promised; what
// runs already has paid for it.
func TestWhatIsNotAffordedIsRefused(t *testing.T) {
	c := Context{Now: stampAt(noon)}
	c.Afford = func(d flex.Dispatch) *flex.Refusal {
		if len(d.Shares) == 0 || d.Window.Start.IsZero() {
			t.Errorf("asked about %+v", d)
		}
		return flex.Refuse(flex.ReasonWriteBudget, "spent")
	}
	if v := Admit(offer(nil), c); len(v.Records) != 1 || v.Records[0].State != flex.Refused || v.Records[0].Reason != flex.ReasonWriteBudget {
		t.Errorf("%+v", v)
	}
	rec := Admit(offer(nil), Context{Now: stampAt(noon)}).Records[0]
	rec.State = flex.Active
	c.Existing, c.Open = &rec, []flex.Record{rec}
	longer := offer(func(o *flex.Offer) { o.Instruction.Window.End, o.Instruction.Content = noon.Add(3*time.Hour), "c2" })
	if v := Admit(longer, c); len(v.Records) != 1 || v.Records[0].State == flex.Refused || !v.Records[0].Window.End.Equal(noon.Add(3*time.Hour)) {
		t.Errorf("a change of what runs: %+v", v)
	}
}
