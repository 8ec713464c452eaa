package dispatch

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func stampAt(t time.Time) flex.Stamp {
	return flex.Stamp{At: t, Clock: flex.ClockSynced, Boot: "b", Since: t.Sub(noon) + 24*time.Hour}
}

// offer is a good start for asset a: 5 kW export from noon+1h for an hour.
func offer(change func(*flex.Offer)) flex.Offer {
	o := flex.Offer{
		Seq: 1, Notification: "n", Door: flex.DoorWebhook, Received: stampAt(noon), Ours: []flex.AssetID{"a"},
		Obligation: flex.Obligation{ID: "ob", Assets: []flex.AssetID{"a", "z"}, Capacity: 10_000, Direction: flex.Export,
			BankHolidays: true, StartTime: 9 * time.Hour, EndTime: 21 * time.Hour, Zone: "Europe/London"},
		Named: []flex.MarketAsset{{ID: "a", Export: 10_000}},
		Instruction: flex.Instruction{ID: "i", Kind: flex.KindStart, Obligation: "ob", Assets: []flex.AssetID{"a"}, Capacity: 5000,
			Direction: flex.Export, Window: flex.Window{Start: noon.Add(time.Hour), End: noon.Add(2 * time.Hour)}, Content: "c1"},
	}
	if change != nil {
		change(&o)
	}
	return o
}

// admitRow is one rule of admission.
type admitRow struct {
	name   string
	change func(*flex.Offer)
	now    flex.Stamp
	open   []flex.Record
	tomb   *flex.Tombstone
	state  flex.State
	reason flex.Reason
	end    time.Time // of the record's window
	share  flex.Watts
	cond   flex.Condition
	hold   bool
}

func (tc admitRow) check(t *testing.T) {
	if tc.now.At.IsZero() {
		tc.now = stampAt(noon)
	}
	v := Admit(offer(tc.change), Context{Now: tc.now, Open: tc.open, Tombstone: tc.tomb})
	if v.Hold != tc.hold || tc.hold {
		if v.Hold != tc.hold || len(v.Records) > 0 {
			t.Fatalf("verdict %+v, want hold %v", v, tc.hold)
		}
		return
	}
	rec := v.Records[0]
	if rec.State != tc.state || rec.Reason != tc.reason {
		t.Fatalf("%s (%s: %s), want %s (%s)", rec.State, rec.Reason, rec.Text, tc.state, tc.reason)
	}
	if tc.share != 0 && (len(rec.Shares) != 1 || rec.Shares[0].Power != tc.share || rec.ShareHash == "") {
		t.Errorf("shares %v, want %v", rec.Shares, tc.share)
	}
	if !tc.end.IsZero() && !rec.Window.End.Equal(tc.end) {
		t.Errorf("ends %v, want %v", rec.Window.End, tc.end)
	}
	if tc.cond != "" && !rec.Has(tc.cond) {
		t.Errorf("conditions %v, want %s", rec.Conditions, tc.cond)
	}
	if v.Acks[len(v.Acks)-1].State != string(tc.state) {
		t.Errorf("last ack %+v, want %s", v.Acks[len(v.Acks)-1], tc.state)
	}
}

func TestAdmit(t *testing.T) {
	in := func(f func(*flex.Instruction)) func(*flex.Offer) { return func(o *flex.Offer) { f(&o.Instruction) } }
	untrusted := stampAt(noon)
	untrusted.Clock = flex.ClockUntrusted
	for _, tc := range []admitRow{
		{name: "a good start is scheduled", state: flex.Scheduled, share: 5000, end: noon.Add(2 * time.Hour)},
		{name: "import is negative", change: func(o *flex.Offer) {
			o.Instruction.Direction, o.Obligation.Direction, o.Named[0].Import = flex.Import, flex.Import, 10_000
		}, state: flex.Scheduled, share: -5000},
		{name: "our share of two", change: func(o *flex.Offer) {
			o.Instruction.Assets = []flex.AssetID{"z", "a"}
			o.Named = append(o.Named, flex.MarketAsset{ID: "z", Export: 30_000})
		}, state: flex.Scheduled, share: 1250},
		{name: "an unknown foreign capacity", change: in(func(i *flex.Instruction) { i.Assets = []flex.AssetID{"a", "z"} }), state: flex.Waiting, reason: flex.ReasonShareUnresolved},
		{name: "no asset", change: func(o *flex.Offer) { o.Instruction.Assets, o.Named = nil, nil }, state: flex.Refused, reason: flex.ReasonUnknownAsset},
		{name: "an asset that the contract does not have", change: in(func(i *flex.Instruction) { i.Assets = []flex.AssetID{"a", "q"} }), state: flex.Refused, reason: flex.ReasonUnknownAsset},
		{name: "not ours", change: func(o *flex.Offer) { o.Ours = nil }, state: flex.Refused, reason: flex.ReasonNotOurs},
		{name: "unknown obligation", change: func(o *flex.Offer) { o.Obligation = flex.Obligation{} }, state: flex.Waiting, reason: flex.ReasonUnknownObligation},
		{name: "direction unresolved", change: in(func(i *flex.Instruction) { i.Direction = "" }), state: flex.Waiting, reason: flex.ReasonDirectionUnresolved},
		{name: "direction against the contract", change: in(func(i *flex.Instruction) { i.Direction = flex.Import }), state: flex.Refused, reason: flex.ReasonDirectionUnresolved},
		{name: "above contract", change: in(func(i *flex.Instruction) { i.Capacity = 10_001 }), state: flex.Refused, reason: flex.ReasonAboveCapacity},
		{name: "exactly the contract", change: in(func(i *flex.Instruction) { i.Capacity = 10_000 }), state: flex.Scheduled, share: 10_000},
		{name: "before the service window", change: in(func(i *flex.Instruction) {
			i.Window = flex.Window{Start: noon.Add(18 * time.Hour), End: noon.Add(21 * time.Hour)}
		}), state: flex.Refused, reason: flex.ReasonOutsideWindow},
		{name: "beyond the service window", change: in(func(i *flex.Instruction) { i.Window.End = noon.Add(9 * time.Hour) }), state: flex.Refused, reason: flex.ReasonOutsideWindow},
		{name: "up to the end of the service window", change: in(func(i *flex.Instruction) { i.Window.End = noon.Add(8 * time.Hour) }), state: flex.Scheduled, share: 5000},
		{name: "no start", change: in(func(i *flex.Instruction) { i.Window.Start = time.Time{} }), state: flex.Refused, reason: flex.ReasonBadField},
		{name: "end before start", change: in(func(i *flex.Instruction) { i.Window.End = noon }), state: flex.Refused, reason: flex.ReasonBadField},
		{name: "already over", now: stampAt(noon.Add(2 * time.Hour)), state: flex.Refused, reason: flex.ReasonTooLate},
		{name: "begun but not over", now: stampAt(noon.Add(90 * time.Minute)), state: flex.Scheduled, share: 5000, cond: flex.LateStart},
		{name: "open end: four hours", change: in(func(i *flex.Instruction) { i.Window.End = time.Time{} }), state: flex.Scheduled, share: 5000, end: noon.Add(5 * time.Hour)},
		{name: "open end: the service window", change: in(func(i *flex.Instruction) { i.Window = flex.Window{Start: noon.Add(7 * time.Hour)} }), state: flex.Scheduled, share: 5000, end: noon.Add(8 * time.Hour)},
		{name: "open end: the contract's run time", change: func(o *flex.Offer) { o.Instruction.Window.End, o.Obligation.MaxRuntime = time.Time{}, time.Hour }, state: flex.Scheduled, share: 5000, end: noon.Add(2 * time.Hour)},
		{name: "the first problem is the reason", change: in(func(i *flex.Instruction) {
			i.Problems = []flex.Refusal{{Reason: flex.ReasonUnitUnresolved, Text: "x"}, {Reason: flex.ReasonBadField}}
		}), state: flex.Refused, reason: flex.ReasonUnitUnresolved},
		{name: "a wrong signature", change: func(o *flex.Offer) { o.Signature = "signature_invalid" }, state: flex.Waiting, reason: flex.ReasonSignatureInvalid},
		{name: "an unverified signature is marked", change: func(o *flex.Offer) { o.Signature = string(flex.Unverified) }, state: flex.Scheduled, share: 5000, cond: flex.Unverified},
		{name: "an untrusted clock keeps it undecided", now: untrusted, hold: true},
		{name: "a stop that came first", tomb: &flex.Tombstone{ID: "i", By: "s"}, state: flex.Refused, reason: flex.ReasonStopped},
		{name: "overlap between obligations", open: []flex.Record{openRecord("x", "other", 90, 150)}, state: flex.Refused, reason: flex.ReasonOverlap},
		{name: "one that was stopped does not hold the asset", now: stampAt(noon.Add(80 * time.Minute)), open: []flex.Record{func() flex.Record {
			r := openRecord("x", "other", 30, 150)
			r.State, r.StopAt, r.StopReason = flex.Active, noon.Add(70*time.Minute), flex.ReasonStopped
			return r
		}()}, state: flex.Scheduled, share: 5000},
		{name: "touching does not overlap", open: []flex.Record{openRecord("x", "other", 120, 150), openRecord("y", "other", 30, 60)}, state: flex.Scheduled, share: 5000},
	} {
		t.Run(tc.name, tc.check)
	}
}

// openRecord is scheduled for asset a, minutes after noon.
func openRecord(id flex.InstructionID, ob flex.ObligationID, from, to int) flex.Record {
	return flex.Record{ID: id, Obligation: ob, State: flex.Scheduled, Shares: []flex.AssetShare{{Asset: "a", Power: 1000}}, Instruction: flex.Instruction{Kind: flex.KindStart},
		Window: flex.Window{Start: noon.Add(time.Duration(from) * time.Minute), End: noon.Add(time.Duration(to) * time.Minute)}, Revision: 1}
}

func TestSupersede(t *testing.T) {
	for _, tc := range []struct {
		name  string
		old   flex.Record
		now   int // minutes after noon
		state flex.State
		stop  int
	}{
		{"one that would never run is superseded at once", openRecord("x", "ob", 60, 120), 0, flex.Superseded, 60},
		{"one that begins later as well", openRecord("x", "ob", 90, 150), 0, flex.Superseded, 60},
		{"one that runs before keeps the asset until then", openRecord("x", "ob", 30, 90), 45, flex.Scheduled, 60},
		{"a late start takes over at once", openRecord("x", "ob", 30, 90), 75, flex.Scheduled, 75},
	} {
		t.Run(tc.name, func(t *testing.T) {
			now := noon.Add(time.Duration(tc.now) * time.Minute)
			v := Admit(offer(nil), Context{Now: stampAt(now), Open: []flex.Record{tc.old}})
			if len(v.Records) != 2 {
				t.Fatalf("records %+v", v.Records)
			}
			got := v.Records[1]
			if got.State != tc.state || !got.StopAt.Equal(noon.Add(time.Duration(tc.stop)*time.Minute)) || got.StopReason != flex.ReasonSuperseded || got.StopBy != "i" {
				t.Errorf("old is %s until %v (%s by %s), want %s until minute %d", got.State, got.StopAt, got.StopReason, got.StopBy, tc.state, tc.stop)
			}
		})
	}
	t.Run("a revision that makes way gives it back", func(t *testing.T) {
		old := openRecord("x", "ob", 30, 90)
		v := Admit(offer(nil), Context{Now: stampAt(noon), Open: []flex.Record{old}})
		mine, cut := v.Records[0], v.Records[1]
		moved := offer(func(o *flex.Offer) {
			o.Instruction.Window = flex.Window{Start: noon.Add(3 * time.Hour), End: noon.Add(4 * time.Hour)}
			o.Instruction.Content = "c2"
		})
		v = Admit(moved, Context{Now: stampAt(noon), Existing: &mine, Open: []flex.Record{mine, cut}})
		if len(v.Records) != 2 || !v.Records[1].StopAt.IsZero() || v.Records[0].Revision != 2 {
			t.Errorf("records %+v, want the old one whole again", v.Records)
		}
	})
	t.Run("a stopped one in release is not touched", func(t *testing.T) {
		old := openRecord("x", "ob", 30, 120)
		old.State, old.StopAt, old.StopReason = flex.Active, noon.Add(70*time.Minute), flex.ReasonStopped
		v := Admit(offer(nil), Context{Now: stampAt(noon.Add(71 * time.Minute)), Open: []flex.Record{old}})
		if len(v.Records) != 1 || v.Records[0].State != flex.Scheduled {
			t.Errorf("records %+v", v.Records)
		}
	})
}

func TestRevisions(t *testing.T) {
	first := Admit(offer(nil), Context{Now: stampAt(noon)}).Records[0]
	rev := func(n int64, explicit bool, content string, change func(*flex.Instruction)) flex.Offer {
		return offer(func(o *flex.Offer) {
			o.Instruction.Revision, o.Instruction.HasRevision, o.Instruction.Content = n, explicit, content
			if change != nil {
				change(&o.Instruction)
			}
		})
	}
	shorter := func(i *flex.Instruction) { i.Window.End = noon.Add(90 * time.Minute) }
	greedy := func(i *flex.Instruction) { i.Capacity = 99_000 }
	for _, tc := range []struct {
		name     string
		offer    flex.Offer
		revision int64 // of the record that results; 0: nothing is stored
		declined flex.Reason
	}{
		{"same content is no news", rev(0, false, "c1", nil), 0, ""},
		{"same revision and content is no news", rev(1, true, "c1", nil), 0, ""},
		{"other content without a revision is the next", rev(0, false, "c2", shorter), 2, ""},
		{"a higher revision replaces", rev(7, true, "c2", shorter), 7, ""},
		{"a lower revision is turned down", rev(0, true, "c2", shorter), 1, flex.ReasonOldRevision},
		{"the same revision with other content is a conflict", rev(1, true, "c2", shorter), 1, flex.ReasonConflict},
		{"a refused revision leaves what stands", rev(2, true, "c2", greedy), 1, flex.ReasonAboveCapacity},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := Context{Now: stampAt(noon), Existing: &first, Open: []flex.Record{first}}
			v := Admit(tc.offer, c)
			if tc.revision == 0 {
				if len(v.Records)+len(v.Acks) > 0 {
					t.Fatalf("verdict %+v, want nothing", v)
				}
				return
			}
			rec := v.Records[0]
			if rec.Revision != tc.revision || rec.State != flex.Scheduled {
				t.Fatalf("record is revision %d, %s", rec.Revision, rec.State)
			}
			if tc.declined == "" {
				return
			}
			if !rec.Window.End.Equal(first.Window.End) || v.Acks[0].Reason != tc.declined || v.Acks[0].State != string(flex.Refused) {
				t.Fatalf("record %+v, acks %+v", rec, v.Acks)
			}
			c.Existing = &rec
			if again := Admit(tc.offer, c); len(again.Records)+len(again.Acks) > 0 {
				t.Errorf("a repetition is announced again: %+v", again)
			}
		})
	}
	for _, keeps := range []bool{false, true} { // whether the market means a stop by it
		run, now := first, noon.Add(100*time.Minute)
		run.State = flex.Active
		o := rev(2, true, "c2", shorter)
		o.Received = stampAt(now)
		v := Admit(o, Context{Now: stampAt(now), Existing: &run, Open: []flex.Record{run}, KeepEnds: keeps})
		stopped := len(v.Records) == 1 && v.Records[0].StopAt.Equal(now) && v.Records[0].StopReason == flex.ReasonStatus
		refused := len(v.Acks) == 1 && v.Acks[0].Reason == flex.ReasonTooLate && v.Records[0].StopAt.IsZero()
		if stopped == keeps || refused != keeps {
			t.Errorf("an end moved into the past: %+v", v)
		}
	}
	t.Run("an active one whose start moves ahead waits again", func(t *testing.T) {
		run := first
		run.State, run.EchoAt = flex.Active, noon.Add(time.Hour)
		o := rev(2, true, "c2", func(i *flex.Instruction) { i.Window.Start = noon.Add(110 * time.Minute) })
		v := Admit(o, Context{Now: stampAt(noon.Add(100 * time.Minute)), Existing: &run, Open: []flex.Record{run}})
		if r := v.Records[0]; r.State != flex.Scheduled || !r.EchoAt.IsZero() {
			t.Errorf("record %+v", r)
		}
	})
}
