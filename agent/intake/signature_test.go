package intake

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// judge is a Signatures made of a function.
type judge func(flex.Instruction) (string, error)

func (j judge) Check(in flex.Instruction) (string, error) { return j(in) }

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
			if err := r.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if acted := len(r.notes.stops) == 1; acted != tc.acts {
				t.Errorf("acted: %v", acted)
			}
			if tc.acts {
				return
			}
			raised := r.notes.raised(CodeSignatureInvalid) || tc.err != nil && r.notes.raised(CodeSignatureUnverified)
			if !raised || r.book.offers[0].Signature != tc.state {
				t.Errorf("offer %+v raises nothing", r.book.offers[0].Signature)
			}
		})
	}
}

func TestTheAlarmOfAnUncheckedSignatureEnds(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
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

// Two operators have contracts here: SPEN signs, the other one does not.
func TestNobodyEscapesAnOperatorsPolicyByNamingAnother(t *testing.T) {
	const missing = string(flex.ReasonSignatureMissing)
	spenSigns := judge(func(in flex.Instruction) (string, error) {
		if strings.EqualFold(in.Operator, "SPEN") && in.Signature != "spen" {
			return missing, errors.New("not signed")
		}
		return "", nil
	})
	signed := func(in flex.Instruction) flex.Instruction { in.Signature = "spen"; return in }
	under := func(in flex.Instruction, ob flex.ObligationID, operator string) flex.Instruction {
		in.Obligation, in.Operator = ob, operator
		return in
	}
	for _, tc := range []struct {
		name  string
		in    flex.Instruction
		state string
		acts  bool
	}{
		{"a start that names the other operator", under(start("i9", "a"), "ob1", "UKPN"), missing, false},
		{"a start in other spelling", under(start("i9", "a"), "ob1", "spen"), missing, false},
		{"a start of the other operator", under(start("i9", "a"), "ob3", "UKPN"), "", false},
		{"a signed start that names the other operator", signed(under(start("i9", "a"), "ob1", "UKPN")), "", false},
		{"a change that moves it to the other operator", under(start("i1", "b"), "ob3", "UKPN"), missing, false},
		{"a stop by the other operator's contract", under(stop("s1", "i1"), "ob3", "UKPN"), missing, false},
		{"a stop with its own id and the other contract", under(stop("i1"), "ob3", "UKPN"), missing, false},
		{"a signed stop", signed(under(stop("s1", "i1"), "ob1", "")), "", true},
		{"a stop of the other operator's own", under(stop("s1", "i2"), "ob3", "UKPN"), "", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(func(c *Config) { c.Signatures = spenSigns })
			r.book.obs["ob3"] = flex.Obligation{ID: "ob3", Operator: "UKPN", Assets: []flex.AssetID{"ours"}, Direction: flex.Export,
				StartDate: "2000-01-01", EndDate: "2000-12-31", Zone: "UTC"}
			r.market.offer("list", signed(under(start("i1", "a"), "ob1", "")), under(start("i2", "a"), "ob3", ""))
			if err := r.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.market.offer("list", tc.in)
			if err := r.Poll(t.Context()); err != nil {
				t.Fatal(err)
			}
			if len(r.book.offers) != 3 || r.book.offers[2].Signature != tc.state {
				t.Fatalf("offers %v, the last signature %q", r.book.ids(), r.book.offers[len(r.book.offers)-1].Signature)
			}
			if acted := r.notes.stopped() == 1; acted != tc.acts {
				t.Errorf("acted: %v", acted)
			}
		})
	}
}

// One that was forged does not bind the true one that follows it.
func TestAForgeryDoesNotTieTheTrueOneToItsOperator(t *testing.T) {
	r := newRig(func(c *Config) {
		c.Signatures = judge(func(in flex.Instruction) (string, error) {
			if in.Operator == "UKPN" {
				return string(flex.ReasonSignatureInvalid), nil
			}
			return "", nil
		})
	})
	false1 := start("i1", "a")
	false1.Operator = "UKPN"
	r.market.offer("list", false1)
	_ = r.Poll(t.Context())
	r.market.offer("list", start("i1", "b"))
	_ = r.Poll(t.Context())
	if len(r.book.offers) != 2 || !forged(r.book.offers[0].Signature) || r.book.offers[1].Signature != "" {
		t.Errorf("offers %v", r.book.ids())
	}
}
