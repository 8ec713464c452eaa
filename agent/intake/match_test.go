package intake

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func TestMatching(t *testing.T) {
	type change = func(*flex.Instruction)
	for _, tc := range []struct {
		name       string
		change     change
		offered    bool
		obligation flex.ObligationID
		direction  flex.Direction
		signature  string
	}{
		{"by obligation id", nil, true, "ob1", flex.Export, ""},
		{"by competition and assets when the id is missing", func(in *flex.Instruction) { in.Obligation, in.Competition = "", "c1" }, true, "ob1", flex.Export, ""},
		{"an obligation without assets names them all", func(in *flex.Instruction) { in.Assets = nil }, true, "ob1", flex.Export, ""},
		{"direction comes from the obligation", func(in *flex.Instruction) { in.Direction = "" }, true, "ob1", flex.Export, ""},
		{"a direction that nobody can read stays a problem", func(in *flex.Instruction) {
			in.Direction = ""
			in.Problems = []flex.Refusal{{Reason: flex.ReasonDirectionUnresolved}}
		}, true, "ob1", flex.Export, ""},
		{"another operator's contract does not fit", func(in *flex.Instruction) { in.Obligation, in.Operator = "", "UKPN" }, true, "", flex.Export, ""},
		{"an unknown obligation is offered without one", func(in *flex.Instruction) { in.Obligation = "ob9" }, true, "", flex.Export, ""},
		{"foreign assets are dropped", func(in *flex.Instruction) { in.Obligation, in.Assets = "ob2", []flex.AssetID{"foreign"} }, false, "", "", ""},
		{"a foreign obligation without assets is dropped", func(in *flex.Instruction) { in.Obligation, in.Assets = "ob2", nil }, false, "", "", ""},
		{"an operator's signature is marked as not checked", func(in *flex.Instruction) { in.Signature = "x" }, true, "ob1", flex.Export, "so_signature_unverified"},
		{"a signature is left alone when the policy says so", func(in *flex.Instruction) { in.Signature, in.Operator, in.Obligation = "x", "lax", "ob3" }, true, "ob3", flex.Export, ""},
		{"the contract's operator counts, whomever the instruction names", func(in *flex.Instruction) { in.Signature, in.Operator = "x", "lax" }, true, "ob1", flex.Export, "so_signature_unverified"},
		{"a start without an id is offered with a problem", func(in *flex.Instruction) { in.ID = "" }, true, "ob1", flex.Export, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(func(c *Config) {
				c.Signatures = judge(func(in flex.Instruction) (string, error) {
					if in.Signature == "" || in.Operator == "lax" {
						return "", nil
					}
					return string(flex.Unverified), nil
				})
			})
			r.book.obs["ob3"] = flex.Obligation{ID: "ob3", Competition: "c3", Operator: "lax", Assets: []flex.AssetID{"ours"}}
			in := start("i1", "a")
			if tc.change != nil {
				tc.change(&in)
			}
			r.market.sets["list"] = []flex.Instruction{in, in}
			for range 3 {
				_ = r.Poll(t.Context())
			}
			if (len(r.book.offers) == 1) != tc.offered {
				t.Fatalf("offers = %v", r.book.ids())
			}
			if !tc.offered {
				if len(r.book.audit) != 1 || r.book.audit[0].What != "instruction.dropped" {
					t.Errorf("audit = %+v, want one line", r.book.audit)
				}
				return
			}
			o := r.book.offers[0]
			if o.Obligation.ID != tc.obligation || o.Instruction.Direction != tc.direction || o.Signature != tc.signature || o.Instruction.ID == "" {
				t.Errorf("offer = %+v", o)
			}
			if (in.ID == "" || len(in.Problems) > 0) != (len(o.Instruction.Problems) > 0) {
				t.Errorf("problems = %v", o.Instruction.Problems)
			}
			if r.notes.raised(CodeSignatureUnverified) != (tc.signature != "") {
				t.Errorf("items = %v", r.notes.items)
			}
		})
	}
}

func TestTwoFittingContractsAreNotGuessed(t *testing.T) {
	c := catalogue{obligations: map[flex.ObligationID]flex.Obligation{
		"a": {ID: "a", Competition: "c", Assets: []flex.AssetID{"x"}, StartDate: "2026-01-01", EndDate: "2026-06-01"},
		"b": {ID: "b", Competition: "c", Assets: []flex.AssetID{"x"}, StartDate: "2026-06-02", EndDate: "2027-01-01"},
	}}
	in := flex.Instruction{Competition: "c", Assets: []flex.AssetID{"x"}, Window: flex.Window{Start: time.Date(2026, 7, 1, 9, 0, 0, 0, time.UTC)}}
	if o, ok := c.obligationOf(in); !ok || o.ID != "b" {
		t.Errorf("obligation = %v, want the one of that date", o.ID)
	}
	b := c.obligations["b"]
	b.StartDate = "2026-01-01"
	c.obligations["b"], in.Window.Start = b, time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	if o, ok := c.obligationOf(in); ok {
		t.Errorf("obligation = %v although two fit", o.ID)
	}
}

func TestForeignCapacitiesAreFetched(t *testing.T) {
	r := newRig(nil)
	in := start("i1", "a")
	in.Assets = []flex.AssetID{"ours", "far"}
	r.market.sets["list"] = []flex.Instruction{in}
	r.market.assets["far"] = flex.MarketAsset{ID: "far", Export: 20000}
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.book.offers) != 1 || len(r.book.offers[0].Named) != 2 || r.book.assets["far"].Export != 20000 {
		t.Errorf("offers %+v, assets %v", r.book.offers, r.book.assets)
	}
	if got := r.book.offers[0].Ours; !slices.Equal(got, []flex.AssetID{"ours"}) {
		t.Errorf("ours = %v", got)
	}
}

func TestUnknownCapacityStaysAbsent(t *testing.T) {
	r := newRig(nil)
	in := start("i1", "a")
	in.Assets = []flex.AssetID{"ours", "far"}
	r.market.sets["list"] = []flex.Instruction{in}
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.book.offers) != 1 || len(r.book.offers[0].Named) != 1 {
		t.Errorf("offers = %+v, want it without the unknown asset", r.book.offers)
	}
}

func TestStopForOthersDoesNothing(t *testing.T) {
	r := newRig(nil)
	foreign := stop("s1")
	foreign.Obligation, foreign.Assets = "ob2", []flex.AssetID{"foreign"}
	bare := flex.Instruction{ID: "s2", Kind: flex.KindStop, Content: "x", Problems: []flex.Refusal{{Reason: flex.ReasonBadField}}}
	r.market.sets["list"] = []flex.Instruction{foreign, bare}
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.notes.stops) != 1 || r.notes.stops[0].ID != "s2" || !slices.Equal(r.book.ids(), []string{"s2/x"}) {
		t.Errorf("stops %v, offers %v: want the bare stop alone", r.notes.stops, r.book.ids())
	}
}

func TestOldRevisionIsLeftAlone(t *testing.T) {
	r := newRig(nil)
	for _, rev := range []int64{2, 1, 2, 3} {
		in := start("i1", "a")
		in.HasRevision, in.Revision = true, rev
		r.market.sets["list"] = []flex.Instruction{in}
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.book.offers) != 2 {
		t.Errorf("offers = %v, want revisions 2 and 3", r.book.ids())
	}
}

func newSyncRig() (*rig, *Sync) {
	r := newRig(nil)
	clear(r.book.obs)
	clear(r.book.assets)
	r.market.obs = []flex.Obligation{{ID: "ob1", Competition: "c1", Assets: []flex.AssetID{"ours"}, StartDate: "1999-01-01", EndDate: "2030-01-01", Raw: []byte(`{"a": 1}`)}}
	r.market.assets["ours"] = flex.MarketAsset{ID: "ours", Export: 7000}
	r.market.comps["c1"] = flex.Competition{ID: "c1", Direction: flex.Export}
	return r, NewSync(SyncConfig{Market: r.market, Book: r.book, Clock: fakeClock{}, Health: r.notes, Log: r.log})
}

func runSync(t *testing.T, s *Sync) {
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { defer close(done); _ = s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func TestSyncWritesOnlyChanges(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		isGone := func() bool {
			r.book.mu.Lock()
			defer r.book.mu.Unlock()
			return !r.book.obs["ob1"].GoneAt.IsZero()
		}
		commits := func() int {
			r.book.mu.Lock()
			defer r.book.mu.Unlock()
			return r.book.commits
		}
		runSync(t, s)
		synctest.Wait()
		if commits() != 1 || r.book.assets["ours"].Export != 7000 || len(r.book.comps) != 1 || !slices.Equal(r.book.assets["ours"].Obligations, []flex.ObligationID{"ob1"}) {
			t.Fatalf("commits %d, assets %v", commits(), r.book.assets)
		}
		r.market.set(func() { r.market.obs[0].Raw = []byte(`{"a":1}`) }) // the same, written otherwise
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		if commits() != 1 || r.market.asked < 12 {
			t.Errorf("%d commits in %d syncs without a change", commits(), r.market.asked)
		}
		r.market.set(func() { r.market.obs = nil })
		s.Wake()
		time.Sleep(syncGap)
		synctest.Wait()
		if isGone() {
			t.Error("one empty answer ended a contract")
		}
		time.Sleep(2 * syncConfirm)
		synctest.Wait()
		if !isGone() {
			t.Error("a contract that vanished is not marked")
		}
	})
}

func TestSyncRaisesAndClears(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		r.market.obsErr = &flex.RetryError{After: 10 * time.Minute, Err: errors.New("429")}
		runSync(t, s)
		synctest.Wait()
		s.Wake()
		time.Sleep(9 * time.Minute)
		synctest.Wait()
		r.market.set(func() {
			if r.market.asked != 1 {
				t.Errorf("asked %d times within Retry-After", r.market.asked)
			}
		})
		time.Sleep(30 * time.Minute)
		synctest.Wait()
		if !r.notes.raised(CodeMarketUnreachable) {
			t.Error("not raised after repeated failures")
		}
		r.market.set(func() { r.market.obsErr = nil })
		time.Sleep(20 * time.Minute)
		synctest.Wait()
		if r.notes.raised(CodeMarketUnreachable) || len(r.book.obs) != 1 {
			t.Errorf("items %v, obligations %v", r.notes.items, r.book.obs)
		}
	})
}

func TestTwoDoorsAtOnceOfferOnce(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(nil)
		for _, u := range []string{"u1", "u2"} {
			r.market.sets[u] = []flex.Instruction{start("i1", "a")}
			if err := r.Accept(t.Context(), body(u)); err != nil {
				t.Fatal(err)
			}
		}
		r.book.gate = make(chan struct{}) // both match before either commits
		r.start(t)
		synctest.Wait()
		close(r.book.gate)
		synctest.Wait()
		if got := r.book.ids(); !slices.Equal(got, []string{"i1/a"}) {
			t.Errorf("offers = %v", got)
		}
	})
}
