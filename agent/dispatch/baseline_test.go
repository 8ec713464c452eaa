package dispatch

import (
	"errors"
	"testing"
	"time"

	"flexd/agent/flex"
)

// baselines answers by the question's own times, and counts.
type baselines struct {
	asked  int
	notice time.Time
	power  flex.Watts
	method string
	err    error
	until  time.Time // notices before it give the error; zero: all do
}

func (b *baselines) of(id flex.AssetID, w flex.Window, notice time.Time) (flex.Baseline, bool, error) {
	b.asked, b.notice = b.asked+1, notice
	n := int(w.Duration()/time.Hour) + 1
	if !b.until.IsZero() && !notice.Before(b.until) {
		return flex.Baseline{Asset: id, Method: "late", Start: w.Start, Step: time.Hour, Values: []flex.Watts{b.power}}, true, nil
	}
	base := flex.Baseline{Asset: id, Method: b.method, Start: w.Start, Step: time.Hour}
	for range n {
		base.Values = append(base.Values, b.power)
	}
	return base, id == "a", b.err
}

func TestTheBaselineIsFrozenAtAdmission(t *testing.T) {
	asked := &baselines{power: -700, method: "10-of-10"}
	c := Context{Now: stampAt(noon.Add(time.Minute)), Baseline: asked.of}
	v := Admit(offer(nil), c)
	rec := v.Records[0]
	if rec.State != flex.Scheduled || len(rec.Baselines) != 1 || rec.Dispatch().Baseline("a", rec.Window.Start) != -700 || !asked.notice.Equal(noon) {
		t.Fatalf("%+v, asked as of %v", rec, asked.notice)
	}
	for _, a := range v.Acks {
		if (len(a.Baselines) == 1) != (a.State == string(flex.Admitted)) {
			t.Errorf("ack %s has %v", a.State, a.Baselines)
		}
	}
	// What is known later does not count: neither for a change within the time
	// that is covered, nor as the notice of one that goes beyond it.
	asked.power = 9000
	change := func(end time.Duration) flex.Record {
		o := offer(func(o *flex.Offer) {
			o.Instruction.Revision, o.Instruction.HasRevision, o.Instruction.Content = 2, true, "c2"
			o.Instruction.Window.End, o.Received = noon.Add(end), stampAt(noon.Add(30*time.Minute))
		})
		c := Context{Now: stampAt(noon.Add(31 * time.Minute)), Baseline: asked.of, Existing: &rec, Open: []flex.Record{rec}}
		return Admit(o, c).Records[0]
	}
	if r := change(100 * time.Minute); r.Revision != 2 || r.Baselines[0].Values[0] != -700 || asked.asked != 1 {
		t.Errorf("%+v", r)
	}
	if r := change(5 * time.Hour); r.Revision != 2 || r.Baselines[0].Values[0] != 9000 || !asked.notice.Equal(noon.Add(time.Minute)) {
		t.Errorf("%+v, as of %v", r, asked.notice)
	}
	// Where the first notice gives nothing any more, its own counts.
	asked.err, asked.until = errors.New("nominated anew"), noon.Add(30*time.Minute)
	if r := change(5 * time.Hour); r.Revision != 2 || r.Baselines[0].Method != "late" {
		t.Errorf("%+v", r)
	}
	// A mean before the first notice is the same for all time.
	rec.Baselines = []flex.Baseline{{Asset: "a", Method: "recent", Start: rec.Window.Start, Step: 30 * time.Minute, Values: []flex.Watts{-40, -40}}}
	before := asked.asked
	if r := change(5 * time.Hour); asked.asked != before || len(r.Baselines[0].Values) != 8 || r.Dispatch().Baseline("a", r.Window.End.Add(-1)) != -40 {
		t.Errorf("%+v", r)
	}
}

func TestWithoutABaselineItWaits(t *testing.T) {
	for _, err := range []error{flex.Refuse(flex.ReasonNoBaseline, "nothing was measured"), errors.New("the disk is gone")} {
		asked := &baselines{err: err}
		v := Admit(offer(nil), Context{Now: stampAt(noon), Baseline: asked.of})
		if rec := v.Records[0]; rec.State != flex.Waiting || rec.Reason != flex.ReasonNoBaseline {
			t.Errorf("%v: %+v", err, rec)
		}
	}
	// An asset that counts from zero has none, and an offer that is refused
	// anyway asks for none.
	asked := &baselines{}
	o := offer(func(o *flex.Offer) {
		o.Ours, o.Instruction.Assets, o.Named = []flex.AssetID{"z"}, []flex.AssetID{"z"}, []flex.MarketAsset{{ID: "z", Export: 1}}
	})
	if rec := Admit(o, Context{Now: stampAt(noon), Baseline: asked.of}).Records[0]; rec.State != flex.Scheduled || len(rec.Baselines) != 0 {
		t.Errorf("%+v", rec)
	}
	o = offer(func(o *flex.Offer) { o.Instruction.Capacity = 99_000 })
	if Admit(o, Context{Now: stampAt(noon), Baseline: asked.of}); asked.asked != 1 {
		t.Errorf("asked %d times", asked.asked)
	}
}

func TestANoticeOfABadClockIsNow(t *testing.T) {
	asked := &baselines{}
	o := offer(func(o *flex.Offer) { o.Received = flex.Stamp{At: noon.AddDate(-50, 0, 0), Clock: flex.ClockUntrusted} })
	if Admit(o, Context{Now: stampAt(noon.Add(time.Minute)), Baseline: asked.of}); !asked.notice.Equal(noon.Add(time.Minute)) {
		t.Errorf("as of %v", asked.notice)
	}
}
