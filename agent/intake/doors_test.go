package intake

import (
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/flex"
)

// judge is a Signatures made of a function.
type judge func(flex.Instruction) (string, error)

func (j judge) Check(in flex.Instruction) (string, error) { return j(in) }

func TestOneInstructionByThreeDoorsActsOnceAndEachDoorIsNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.sets["u"] = []flex.Instruction{start("i1", "a")}
		r.market.sets["list"] = r.market.sets["u"]
		r.start(t)
		first := time.Now()
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(3 * time.Second)
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second)
		relayed := body("u")
		relayed.Door, relayed.Received = flex.DoorRelay, time.Now()
		if err := r.Accept(t.Context(), relayed); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		for range 3 {
			_ = r.Poll(t.Context())
		}
		synctest.Wait()
		if n := len(r.book.offers); n != 1 {
			t.Fatalf("%d offers", n)
		}
		got := map[flex.Door]time.Duration{}
		for _, s := range r.book.sights {
			if _, twice := got[s.Door]; twice || s.Instruction != "i1" {
				t.Errorf("sighting %+v", s)
			}
			got[s.Door] = s.At.Sub(first).Round(time.Second)
		}
		if fmt.Sprint(got) != "map[poll:3s relay:7s webhook:0s]" {
			t.Errorf("sightings %v", got)
		}
	})
}

func TestWhatTheMarketSentIsKeptAsItCame(t *testing.T) {
	r := newRig(nil)
	r.market.sets["list"] = []flex.Instruction{start("i1", "a")}
	r.market.raw = []byte(`[{"id":"i1"}]`)
	for range 3 {
		if err := r.Poll(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if len(r.book.replies) != 1 {
		t.Fatalf("%d replies kept, want the one that brought something", len(r.book.replies))
	}
	text, err := io.ReadAll(flate.NewReader(bytes.NewReader(r.book.replies[0].Raw)))
	if err != nil || !bytes.Equal(text, r.market.raw) || r.book.replies[0].Bytes != len(text) || len(r.book.replies[0].Hash) != 64 {
		t.Errorf("%+v: %q, %v", r.book.replies[0], text, err)
	}
}

func TestAStopIsRefusedForTrustAlone(t *testing.T) {
	for _, tc := range []struct {
		name  string
		state string
		err   error
		acts  bool
	}{
		{"a signature that holds", "", nil, true},
		{"no key to check it", string(flex.Unverified), nil, true},
		{"a wrong signature", string(flex.ReasonSignatureInvalid), nil, false},
		{"a missing signature that is required", string(flex.ReasonSignatureMissing), nil, false},
		{"cannot be judged now", "key_unavailable", &flex.RetryError{After: time.Second, Err: errors.New("the key file is gone")}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(func(c *Config) {
				c.Signatures = judge(func(flex.Instruction) (string, error) { return tc.state, tc.err })
			})
			in := start("s1", "a")
			in.Kind, in.Signature = flex.KindStop, "x"
			r.market.sets["list"] = []flex.Instruction{in}
			err := r.Poll(t.Context())
			if acted := len(r.notes.stops) == 1; acted != tc.acts {
				t.Errorf("acted: %v", acted)
			}
			var retry *flex.RetryError
			if waits := errors.As(err, &retry); waits != (tc.err != nil) || waits == (len(r.book.offers) == 1) {
				t.Errorf("%v, %d offers", err, len(r.book.offers))
			}
			if tc.acts || tc.err != nil {
				return
			}
			if !r.notes.raised(CodeSignatureInvalid) || r.book.offers[0].Signature != tc.state {
				t.Errorf("offer %+v raises nothing", r.book.offers[0].Signature)
			}
		})
	}
}

func TestTheAlarmOfAnUncheckedSignatureEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		state := string(flex.Unverified)
		r := newRig(func(c *Config) { c.Signatures = judge(func(flex.Instruction) (string, error) { return state, nil }) })
		r.start(t)
		send := func(id string) {
			in := start(id, "a")
			in.Signature, in.Operator = "x", "SPEN"
			r.market.sets["list"] = []flex.Instruction{in}
			_ = r.Poll(t.Context())
		}
		send("i1")
		if !r.notes.raised(CodeSignatureUnverified) {
			t.Fatal("not raised")
		}
		state = ""
		send("i2")
		if r.notes.raised(CodeSignatureUnverified) {
			t.Error("not cleared by one that holds")
		}
		state = string(flex.Unverified)
		send("i3")
		time.Sleep(25 * time.Hour)
		synctest.Wait()
		if r.notes.raised(CodeSignatureUnverified) {
			t.Error("not cleared after a day")
		}
	})
}

func TestAnInstructionThatVanishesFromTheListIsToldAndGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(nil)
		full := []flex.Instruction{start("i1", "a"), start("i2", "a")}
		poll := func(list []flex.Instruction) {
			r.market.sets["list"] = list
			if err := r.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		poll(full)
		poll(full[:1])
		if r.notes.raised(CodeNotListed) {
			t.Error("one list with a hole is enough")
		}
		poll(full[:1])
		if !r.notes.raised(CodeNotListed) {
			t.Error("not told")
		}
		poll(full)
		if r.notes.raised(CodeNotListed) {
			t.Error("still told although it is back")
		}
		if len(r.notes.stops) != 0 {
			t.Error("a hole in a list stopped something")
		}
	})
}

func TestANewNotificationDoesNotWaitBehindThoseThatFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(nil)
		r.market.count = 1
		r.market.hang = map[string]bool{}
		r.start(t)
		for n := range fetchers + 4 {
			u := fmt.Sprintf("h%d", n)
			r.market.set(func() { r.market.hang[u] = true })
			if err := r.Accept(t.Context(), body(u)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute) // they are retried, each for long
		r.market.set(func() { r.market.sets["u"] = []flex.Instruction{start("i1", "a")} })
		if err := r.Accept(t.Context(), body("u")); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(r.book.offers) != 1 {
			t.Error("the new one waits")
		}
	})
}

func TestTenThousandInstructionsInOneReply(t *testing.T) {
	r := newRig(nil)
	var list []flex.Instruction
	for n := range 10_000 {
		in := start(fmt.Sprintf("i%d", n), "a")
		if n%10 > 0 {
			in.Assets, in.Obligation = []flex.AssetID{"foreign"}, "ob2"
		}
		list = append(list, in)
	}
	r.market.sets["list"] = list
	if err := r.Poll(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(r.book.offers) != 1000 || r.book.commits > 10 || len(r.book.audit) > maxDropped+1 {
		t.Errorf("%d offers in %d commits, %d lines", len(r.book.offers), r.book.commits, len(r.book.audit))
	}
}
