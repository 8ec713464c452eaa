package dispatch

import (
	"testing"
	"time"

	"flexd/agent/flex"
)

func stopOffer(id flex.InstructionID, change func(*flex.Instruction)) flex.Offer {
	o := flex.Offer{Seq: 9, Received: stampAt(noon), Instruction: flex.Instruction{ID: id, Kind: flex.KindStop,
		Problems: []flex.Refusal{{Reason: flex.ReasonBadField, Text: "a stop acts all the same"}}}}
	if change != nil {
		change(&o.Instruction)
	}
	return o
}

func TestStopTargets(t *testing.T) {
	x, y := openRecord("x", "ob", 60, 120), openRecord("y", "ob2", -30, 120)
	y.State = flex.Active
	open := []flex.Record{x, y}
	for _, tc := range []struct {
		name  string
		offer flex.Offer
		exist *flex.Record
		tomb  *flex.Tombstone
		want  map[flex.InstructionID]flex.State
		tombs []flex.InstructionID
	}{
		{"by the same id", stopOffer("x", nil), &x, nil, map[flex.InstructionID]flex.State{"x": flex.Cancelled}, []flex.InstructionID{"x"}},
		{"an active one stays active until released", stopOffer("y", nil), &y, nil, map[flex.InstructionID]flex.State{"y": flex.Active}, []flex.InstructionID{"y"}},
		{"by name", stopOffer("s", func(i *flex.Instruction) { i.Stops = []flex.InstructionID{"y"} }), nil, nil, map[flex.InstructionID]flex.State{"y": flex.Active}, []flex.InstructionID{"s", "y"}},
		{"an unknown name leaves a tombstone", stopOffer("s", func(i *flex.Instruction) { i.Stops = []flex.InstructionID{"q"} }), nil, nil, nil, []flex.InstructionID{"q", "s"}},
		{"with neither: what it meets of its obligation", stopOffer("s", func(i *flex.Instruction) { i.Obligation, i.Window = "ob", y.Window }), nil, nil, map[flex.InstructionID]flex.State{"x": flex.Cancelled}, []flex.InstructionID{"s"}},
		{"with neither: what runs of its assets", stopOffer("s", func(i *flex.Instruction) { i.Assets = []flex.AssetID{"a"} }), nil, nil, map[flex.InstructionID]flex.State{"y": flex.Active}, []flex.InstructionID{"s"}},
		{"with neither, and nothing of it runs", stopOffer("s", func(i *flex.Instruction) { i.Obligation = "ob" }), nil, nil, nil, []flex.InstructionID{"s"}},
		{"other assets are not meant", stopOffer("s", func(i *flex.Instruction) { i.Obligation, i.Assets = "ob", []flex.AssetID{"b"} }), nil, nil, nil, []flex.InstructionID{"s"}},
		{"one that names nothing stops nothing", stopOffer("s", nil), nil, nil, nil, []flex.InstructionID{"s"}},
		{"a repetition does not end what began since", stopOffer("s", func(i *flex.Instruction) { i.Obligation = "ob" }), nil, &flex.Tombstone{ID: "s", By: "s"}, nil, nil},
		{"a withdrawn start that was never seen means itself alone", stopOffer("w", func(i *flex.Instruction) { i.Kind, i.Status, i.Obligation = flex.KindStart, "Cancelled", "ob" }), nil, nil, nil, []flex.InstructionID{"w"}},
		{"a power of zero withdraws", stopOffer("x", func(i *flex.Instruction) { i.Kind, i.Problems = flex.KindStart, nil }), &x, nil, map[flex.InstructionID]flex.State{"x": flex.Cancelled}, []flex.InstructionID{"x"}},
		{"a stop with a wrong signature is refused", func() flex.Offer { o := stopOffer("x", nil); o.Signature = "signature_invalid"; return o }(), &x, nil, map[flex.InstructionID]flex.State{"x": flex.Scheduled}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := Admit(tc.offer, Context{Now: stampAt(noon.Add(time.Second)), Existing: tc.exist, Tombstone: tc.tomb, Open: open})
			if len(v.Records) != len(tc.want) {
				t.Fatalf("records %+v, want %v", v.Records, tc.want)
			}
			for _, r := range v.Records {
				if r.State != tc.want[r.ID] {
					t.Errorf("%s is %s, want %s", r.ID, r.State, tc.want[r.ID])
				}
				if r.State != flex.Scheduled && (!r.StopAt.Equal(noon) || r.StopBy != tc.offer.Instruction.ID) {
					t.Errorf("%s stopped at %v by %s, want on receipt", r.ID, r.StopAt, r.StopBy)
				}
			}
			var tombs []flex.InstructionID
			for _, tb := range v.Tombstones {
				tombs = append(tombs, tb.ID)
			}
			if len(tombs) != len(tc.tombs) {
				t.Errorf("tombstones %v, want %v", tombs, tc.tombs)
			}
		})
	}
}

func TestStopIsFinalForItsID(t *testing.T) {
	first := Admit(offer(nil), Context{Now: stampAt(noon)}).Records[0]
	stopped := Admit(stopOffer("i", nil), Context{Now: stampAt(noon), Existing: &first, Open: []flex.Record{first}}).Records[0]
	again := offer(func(o *flex.Offer) {
		o.Instruction.Revision, o.Instruction.HasRevision, o.Instruction.Content = 9, true, "c9"
		o.Instruction.Capacity = 6000
	})
	v := Admit(again, Context{Now: stampAt(noon), Existing: &stopped})
	if v.Records[0].State != flex.Cancelled || v.Acks[0].Reason != flex.ReasonStopped {
		t.Errorf("verdict %+v, want the higher revision refused", v)
	}
	if v := Admit(offer(nil), Context{Now: stampAt(noon), Existing: &stopped}); len(v.Records)+len(v.Acks) > 0 {
		t.Errorf("the start again: %+v, want no news", v)
	}
}

// book is a store in memory for the pure rules.
type book struct {
	recs  map[flex.InstructionID]flex.Record
	tombs map[flex.InstructionID]flex.Tombstone
}

func (b *book) take(o flex.Offer, now time.Time) Verdict {
	c := Context{Now: stampAt(now)}
	if r, ok := b.recs[o.Instruction.ID]; ok {
		c.Existing = &r
	}
	if tb, ok := b.tombs[o.Instruction.ID]; ok {
		c.Tombstone = &tb
	}
	for _, r := range b.recs {
		if !r.State.Final() {
			c.Open = append(c.Open, r)
		}
	}
	v := Admit(o, c)
	for _, r := range v.Records {
		b.recs[r.ID] = r
	}
	for _, tb := range v.Tombstones {
		b.tombs[tb.ID] = tb
	}
	return v
}

// follow lets control engage what wants power at now and release the rest.
func (b *book) follow(t *testing.T, now time.Time) {
	for id, r := range b.recs {
		p := flex.Progress{Engaged: true, EchoAt: now}
		if over(r, now) || now.Before(r.Window.Start) {
			p = flex.Progress{Released: true, ReleasedAt: now}
		}
		next, err := Follow(r, p, true, stampAt(now))
		if err != nil {
			t.Fatal(err)
		}
		b.recs[id] = next
	}
}

func permute[T any](xs []T, do func([]T)) {
	var walk func(int)
	walk = func(k int) {
		if k == len(xs) {
			do(xs)
			return
		}
		for i := k; i < len(xs); i++ {
			xs[k], xs[i] = xs[i], xs[k]
			walk(k + 1)
			xs[k], xs[i] = xs[i], xs[k]
		}
	}
	walk(0)
}

func TestPermutationsHaveOneEnd(t *testing.T) {
	start := offer(func(o *flex.Offer) { o.Instruction.Revision, o.Instruction.HasRevision = 1, true })
	change := offer(func(o *flex.Offer) {
		o.Instruction.Revision, o.Instruction.HasRevision, o.Instruction.Content = 2, true, "c2"
		o.Instruction.Window.End = noon.Add(90 * time.Minute)
	})
	stopSame := stopOffer("i", nil)
	stopNamed := stopOffer("s", func(i *flex.Instruction) { i.Stops = []flex.InstructionID{"i"} })
	type set struct {
		name   string
		offers []flex.Offer
		runs   bool
	}
	for _, s := range []set{
		{"start and change", []flex.Offer{start, change, start, change}, true},
		{"start, change and stop", []flex.Offer{start, change, stopSame, start, change, stopSame}, false},
		{"start, change and a stop by name", []flex.Offer{start, change, stopNamed, start, stopNamed}, false},
	} {
		for _, begin := range []time.Duration{0, 61 * time.Minute} {
			t.Run(s.name+" at "+begin.String(), func(t *testing.T) {
				permute(s.offers, func(order []flex.Offer) {
					b := &book{recs: map[flex.InstructionID]flex.Record{}, tombs: map[flex.InstructionID]flex.Tombstone{}}
					now := noon.Add(begin)
					for _, o := range order {
						o.Received = stampAt(now)
						b.take(o, now)
						b.follow(t, now)
						now = now.Add(time.Second)
					}
					b.follow(t, now)
					r := b.recs["i"]
					if s.runs {
						if r.State.Final() || r.Revision != 2 || !r.Window.End.Equal(noon.Add(90*time.Minute)) {
							t.Fatalf("ends %s revision %d, %v", r.State, r.Revision, r.Window)
						}
						return
					}
					if r.State != flex.Cancelled && r.State != flex.Stopped && (r.State != flex.Refused || r.Reason != flex.ReasonStopped) {
						t.Fatalf("ends %s (%s)", r.State, r.Reason)
					}
				})
			})
		}
	}
}
