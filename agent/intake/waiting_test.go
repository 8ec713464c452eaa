package intake

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// newWaitingRig lets every offer wait until it is replaced.
func newWaitingRig(t *testing.T, change func(*Config)) *rig {
	r := newRig(nil)
	r.rebuild(func(c *Config) {
		c.Waiting = r.book.open
		if change != nil {
			change(c)
		}
	})
	r.start(t)
	synctest.Wait()
	return r
}

// last is the only offer that is not decided.
func (r *rig) last(t *testing.T) flex.Offer {
	t.Helper()
	open := r.book.open()
	if len(open) != 1 {
		t.Fatalf("%d offers are open, want one: %v", len(open), r.book.ids())
	}
	return open[0]
}

// An instruction whose contract the market does not tell yet is no lost case:
// it is offered, the contracts are asked for, and it is matched as soon as
// they are there. When it was received stays.
func TestAnInstructionWaitsForItsContract(t *testing.T) {
	for name, change := range map[string]func(*flex.Instruction){
		"our asset, a contract nobody knows": func(*flex.Instruction) {},
		"no asset, a contract nobody knows":  func(in *flex.Instruction) { in.Assets = nil },
		"our asset, only the competition":    func(in *flex.Instruction) { in.Obligation, in.Competition = "", "new" },
	} {
		t.Run(name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				r := newWaitingRig(t, nil)
				in := start("i1", "a")
				in.Obligation = "new"
				change(&in)
				r.market.offer("list", in)
				if err := r.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
				first := r.last(t)
				time.Sleep(20 * time.Minute) // longer than any count of tries
				synctest.Wait()
				if r.notes.syncs < 5 || r.notes.syncs > 60 || r.last(t).Seq != first.Seq {
					t.Fatalf("%d synchronisations, offers %v", r.notes.syncs, r.book.ids())
				}
				r.book.mu.Lock()
				r.book.obs["new"] = flex.Obligation{ID: "new", Competition: "new", Assets: []flex.AssetID{"ours"}}
				r.book.mu.Unlock()
				r.Rematch()
				synctest.Wait()
				if o := r.last(t); o.Obligation.ID != "new" || !o.Received.At.Equal(first.Received.At) || len(o.Ours) != 1 {
					t.Errorf("offer %+v", o)
				}
			})
		})
	}
}

// The market cannot tell an asset for hours: it is asked ever more rarely, and
// the share is found when it can.
func TestAnInstructionWaitsForACapacity(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newWaitingRig(t, nil)
		in := start("i1", "a")
		in.Assets = []flex.AssetID{"ours", "far"}
		in.Window = flex.Window{Start: time.Now().Add(5 * time.Hour), End: time.Now().Add(6 * time.Hour)}
		r.market.offer("list", in)
		r.market.set(func() { r.market.assetErr = &flex.RetryError{After: time.Second, Err: errors.New("503")} })
		if err := r.Poll(t.Context()); err != nil || len(r.last(t).Named) != 1 {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		r.market.set(func() {
			if r.market.asked < 30 || r.market.asked > 60 {
				t.Errorf("asked %d times in three hours", r.market.asked)
			}
			r.market.assetErr, r.market.assets["far"] = nil, flex.MarketAsset{ID: "far", Export: 20000}
		})
		time.Sleep(rematchFar)
		synctest.Wait()
		if o := r.last(t); len(o.Named) != 2 || r.book.assets["far"].Export != 20000 {
			t.Errorf("offer %+v", o)
		}
	})
}

// A key that is put in place a little late says nothing when it comes.
func TestAnInstructionWaitsForAKey(t *testing.T) {
	for _, before := range []string{string(flex.ReasonSignatureInvalid), string(flex.ReasonNoKey)} {
		for _, kind := range []flex.Kind{flex.KindStart, flex.KindStop} {
			clocktest.Bubble(t, func(t *testing.T) {
				var verdict atomic.Value
				verdict.Store(before)
				r := newWaitingRig(t, func(c *Config) {
					c.Signatures = judge(func(flex.Instruction) (string, error) {
						word := verdict.Load().(string)
						if word == string(flex.ReasonNoKey) {
							return word, &flex.RetryError{Err: errors.New("the key file is gone")}
						}
						return word, nil
					})
				})
				in := start("i1", "a")
				in.Kind, in.Signature = kind, "signed with the new key"
				r.market.offer("list", in)
				if err := r.Poll(t.Context()); err != nil || r.last(t).Signature != before || r.notes.stopped() != 0 {
					t.Fatalf("%v, %+v, %d stops", err, r.book.kept(), r.notes.stopped())
				}
				time.Sleep(10 * time.Minute)
				synctest.Wait()
				verdict.Store("")
				time.Sleep(rematchNear)
				synctest.Wait()
				if o := r.last(t); o.Signature != "" || len(r.book.kept()) != 2 {
					t.Errorf("%s: offer %+v", kind, o)
				}
			})
		}
	}
}

// A copy without its signature, or with a broken one, does not stand in the way
// of the right one, whatever its revision.
func TestAFalseCopyDoesNotStandInTheWay(t *testing.T) {
	for name, change := range map[string]func(*flex.Instruction){
		"unsigned":          func(in *flex.Instruction) { in.Signature = "" },
		"garbled":           func(in *flex.Instruction) { in.Signature = "x" },
		"a higher revision": func(in *flex.Instruction) { in.Signature, in.Revision = "", 99 },
		"other content":     func(in *flex.Instruction) { in.Signature, in.Content = "", "b" },
	} {
		for _, explicit := range []bool{false, true} {
			r := newRig(func(c *Config) {
				c.Signatures = judge(func(in flex.Instruction) (string, error) {
					if in.Signature != "good" {
						return string(flex.ReasonSignatureMissing), nil
					}
					return "", nil
				})
			})
			good := start("i1", "a")
			good.Signature, good.HasRevision = "good", explicit
			bad := good
			change(&bad)
			for _, in := range []flex.Instruction{bad, good, good} {
				r.market.offer("list", in)
				if err := r.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if n := len(r.book.kept()); n != 2 || r.book.kept()[1].Signature != "" {
				t.Errorf("%s: %d offers", name, n)
			}
		}
	}
}

// What was refused by the terms of its contract is judged once more when the
// market has changed them, and never otherwise.
func TestAChangedContractIsANewJudgement(t *testing.T) {
	for _, reason := range []flex.Reason{flex.ReasonAboveCapacity, flex.ReasonOutsideWindow, flex.ReasonTooLate} {
		r := newRig(nil)
		r.market.offer("list", start("i1", "a"))
		poll := func(want int) {
			t.Helper()
			for range 2 {
				if err := r.Poll(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			if len(r.book.kept()) != want {
				t.Fatalf("%s: %d offers, want %d", reason, len(r.book.kept()), want)
			}
		}
		poll(1)
		r.book.put(func(b *fakeBook) { b.records["i1"] = flex.Record{ID: "i1", State: flex.Refused, Reason: reason} })
		r.Rematch() // another contract has changed
		poll(1)
		r.book.put(func(b *fakeBook) {
			ob := b.obs["ob1"]
			ob.Capacity = 50_000
			b.obs["ob1"] = ob
		})
		poll(1)
		r.Rematch()
		poll(map[bool]int{true: 1, false: 2}[reason == flex.ReasonTooLate])
	}
}

// A start that comes behind its stop is offered, so that it is seen refused.
func TestAStartBehindItsStopIsOffered(t *testing.T) {
	r := newRig(nil)
	halt, late := stop("i1"), start("i1", "a")
	halt.HasRevision, halt.Revision = true, 2
	late.HasRevision = true
	for _, in := range []flex.Instruction{halt, late, halt, late} {
		r.market.offer("list", in)
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.book.kept()) != 2 || r.book.kept()[1].Instruction.Kind != flex.KindStart || r.notes.stopped() != 1 {
		t.Errorf("offers %v, %d stops", r.book.ids(), r.notes.stopped())
	}
}
