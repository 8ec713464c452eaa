package allocate

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"flexd/agent/flex"
)

// A dispatch that another outranks on an asset is as if it were not there for
// that asset while both want it, and nothing is missing of it.
func TestWhatIsOutrankedIsAsIfItWereNotThere(t *testing.T) {
	waited := 0
	for seed := range uint64(3000) {
		r := rand.New(rand.NewPCG(seed, 7))
		in := world(r)
		for i := range in.Dispatches {
			d := &in.Dispatches[i]
			d.Priority = r.IntN(3)
			d.Obligation = []flex.ObligationID{"a", "b", "c"}[r.IntN(3)]
			d.Use = []flex.Use{flex.UseNormal, flex.UseEvent, flex.UseEvent, flex.UseEmergency}[r.IntN(4)]
		}
		bare := in
		bare.Dispatches = slices.Clone(in.Dispatches)
		waits := map[flex.InstructionID]bool{}
		for _, d := range in.Dispatches {
			for _, o := range in.Dispatches {
				if d.Wants(in.Now) && o.Wants(in.Now) && o.Shares[0].Asset == d.Shares[0].Asset && o.Priority > d.Priority &&
					o.Obligation != d.Obligation && o.Use != flex.UseNormal && d.Use != flex.UseNormal {
					waits[d.ID] = true
				}
			}
		}
		waited += len(waits)
		// What waits keeps its baselines: it goes on where it was.
		for i := range bare.Dispatches {
			if waits[bare.Dispatches[i].ID] {
				bare.Dispatches[i].Shares = []flex.AssetShare{{Asset: in.Dispatches[i].Shares[0].Asset}}
				bare.Dispatches[i].Window.End = in.Now
			}
		}
		got, want := Decide(in), Decide(bare)
		for id := range waits {
			if sf, ok := got.Shortfall[id]; ok {
				t.Fatalf("seed %d: %s waits and misses %+v", seed, id, sf)
			}
		}
		for i := range got.Targets {
			g, w := got.Targets[i], want.Targets[i]
			g.Before, w.Before = nil, nil
			if !reflect.DeepEqual(g, w) {
				t.Fatalf("seed %d: with what waits %+v, without %+v", seed, g, w)
			}
		}
		if !reflect.DeepEqual(got.Shortfall, want.Shortfall) {
			t.Fatalf("seed %d: missing %+v, want %+v", seed, got.Shortfall, want.Shortfall)
		}
	}
	if waited < 100 {
		t.Errorf("only %d waited: nothing is proven", waited)
	}
}
