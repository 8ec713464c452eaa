package dispatch

import (
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// A stop never gives a dispatch more time than it had.
func TestAStopProlongsNothing(t *testing.T) {
	r := openRecord("i", "ob", 0, 120)
	r.State = flex.Active
	r.StopAt, r.StopReason, r.StopBy = noon.Add(30*time.Minute), flex.ReasonSuperseded, "next"
	for at, want := range map[time.Duration]time.Duration{20 * time.Minute: 20 * time.Minute, 40 * time.Minute: 30 * time.Minute} {
		got := halt(r, stampAt(noon.Add(at)), flex.ReasonStopped, "stop")
		if !got.StopAt.Equal(noon.Add(want)) || got.StopReason != flex.ReasonStopped || got.StopBy != "stop" {
			t.Errorf("stopped at %v: ends at %v for %s by %s, want %v", at, got.StopAt.Sub(noon), got.StopReason, got.StopBy, want)
		}
	}
}

// An amendment that names no end prolongs, or changes, and never stops.
func TestAnAmendmentWithoutAnEndIsNoStop(t *testing.T) {
	old := openRecord("i", "ob", 0, 120)
	old.State = flex.Active
	for _, tc := range []struct {
		name string
		end  time.Time
		want bool
	}{
		{"no end", time.Time{}, false},
		{"an end ahead", noon.Add(90 * time.Minute), false},
		{"an end in the past", noon.Add(50 * time.Minute), true},
		{"an end now", noon.Add(time.Hour), true},
	} {
		in := old.Instruction
		in.Window.Start, in.Window.End = old.Window.Start, tc.end
		if got := endMovedBack(in, Context{Now: stampAt(noon.Add(time.Hour)), Existing: &old}); got != tc.want {
			t.Errorf("%s: a stop %v, want %v", tc.name, got, tc.want)
		}
	}
}

// The signature is content: the same words with a proof are news.
func TestAMendedSignatureIsNews(t *testing.T) {
	a := offer(nil).Instruction
	a.Content = ""
	b := a
	if !sameTerms(a, b) {
		t.Fatal("the same is not the same")
	}
	if b.Signature = "signed"; sameTerms(a, b) {
		t.Error("a signature that was mended is taken for a repetition")
	}
}

// What was stopped before it began leaves the asset to others, and a rehearsal
// gives way to the market alone.
func TestWhoContendsAndWhoYields(t *testing.T) {
	a, b := openRecord("a", "x", 60, 120), openRecord("b", "y", 0, 240)
	if !contends(a, b) {
		t.Fatal("they overlap")
	}
	a.StopAt = a.Window.Start
	if contends(a, b) || contends(b, a) {
		t.Error("a dispatch that was stopped before it began holds the asset")
	}
	a.StopAt = a.Window.Start.Add(-time.Minute)
	if contends(a, b) || contends(b, a) {
		t.Error("one that was stopped a minute before does")
	}
	test, real := openRecord("t", "x", 60, 120), openRecord("r", "x", 60, 120)
	test.Instruction.Test = true
	if !yields(test, real) || yields(real, test) || yields(test, test) {
		t.Error("a rehearsal yields to the market, and to nothing else")
	}
}

// A device that took its setpoint ahead of the start is active from the start,
// and a release is owed once it has had its time.
func TestTheEdgesOfAWindow(t *testing.T) {
	r := openRecord("i", "ob", 60, 120)
	r.EchoAt = r.Window.Start.Add(-2 * time.Second)
	got, err := Follow(r, flex.Progress{Engaged: true}, true, stampAt(r.Window.Start.Add(time.Second)))
	if err != nil || got.State != flex.Active {
		t.Fatalf("%s, %v", got.State, err)
	}
	if at := got.Steps[len(got.Steps)-1].Fact.At; !at.Equal(r.Window.Start) {
		t.Errorf("active since %v, want the start", at.Sub(r.Window.Start))
	}
	for _, pace := range []time.Duration{0, 8 * time.Second} {
		for after, want := range map[time.Duration]bool{0: false, 1900 * time.Millisecond: false, 2 * time.Second: true} {
			next, err := Follow(got, flex.Progress{Engaged: true, HandBack: pace}, true, stampAt(r.Window.End.Add(pace+after)))
			if err != nil || next.State != flex.Active || next.Has(flex.ReleaseOwed) != want {
				t.Errorf("%v after the end and a pace of %v: %s, conditions %v, want owed %v", after, pace, next.State, next.Conditions, want)
			}
		}
	}
}

// A device that delivers does not count as one that does not.
func TestDeliveringIsNoCondition(t *testing.T) {
	r := openRecord("i", "ob", 60, 120)
	yes, no := true, false
	for _, p := range []struct {
		delivering *bool
		want       bool
	}{{nil, false}, {&yes, false}, {&no, true}} {
		got := conditions(r, flex.Progress{Delivering: p.delivering})
		if got.Has(flex.NotDelivering) != p.want {
			t.Errorf("conditions %v", got.Conditions)
		}
	}
}

// Of what happened in the window the final word keeps what held at its end.
func TestTheConditionsOfTheEndStand(t *testing.T) {
	r := openRecord("i", "ob", 60, 120).With(flex.Partial, true)
	for before, want := range map[time.Duration]bool{time.Second: true, lately: true, 3 * time.Second: false} {
		l := latch{"i": {flex.Partial: r.Window.End.Add(-before)}}
		if got := l.hold(r, r, r.Window.End.Add(time.Second), time.Second); got.Has(flex.Partial) != want {
			t.Errorf("last seen %v before the end: %v, want %v", before, got.Conditions, want)
		}
	}
}

// The time since boot says nothing about another boot.
func TestAStepIsTakenFromStampsOfOneBoot(t *testing.T) {
	then := stampAt(noon)
	for _, tc := range []struct {
		name  string
		now   func(flex.Stamp) flex.Stamp
		by    time.Duration
		other bool
	}{
		{"as time goes by", func(s flex.Stamp) flex.Stamp { return s }, 0, false},
		{"a step", func(s flex.Stamp) flex.Stamp { s.At = s.At.Add(time.Minute); return s }, time.Minute, false},
		{"too small for one", func(s flex.Stamp) flex.Stamp { s.At = s.At.Add(99 * time.Millisecond); return s }, 0, false},
		{"another boot", func(s flex.Stamp) flex.Stamp { s.Boot, s.At = "c", s.At.Add(time.Minute); return s }, 0, true},
	} {
		by, other := stepSince(then, tc.now(stampAt(noon.Add(time.Hour))))
		if by != tc.by || other != tc.other {
			t.Errorf("%s: %v, another boot %v", tc.name, by, other)
		}
	}
}

// A person hears at once of what begins within the minute, soon of what begins
// within the day, and not yet of what is far.
func TestWhenAWaitIsTold(t *testing.T) {
	for _, tc := range []struct {
		name         string
		start, since time.Duration // ahead of now, and before it
		stop, want   bool
	}{
		{"begins within the minute", 59 * time.Second, 0, false, true},
		{"has begun", -time.Second, 0, false, true},
		{"begins later, and came now", 2 * time.Minute, 9 * time.Second, false, false},
		{"begins later, and waits already", 2 * time.Minute, 10 * time.Second, false, true},
		{"is far", 25 * time.Hour, time.Hour, false, false},
		{"is a stop", 25 * time.Hour, 0, true, true},
	} {
		in := flex.Instruction{ID: "i", Kind: flex.KindStart, Capacity: 1000, Window: flex.Window{Start: noon.Add(tc.start)}}
		if tc.stop {
			in.Kind = flex.KindStop
		}
		w := waitingOffer{offer: flex.Offer{Instruction: in}, since: noon.Add(-tc.since), until: noon.Add(48 * time.Hour)}
		if got := w.tell(noon); got != tc.want {
			t.Errorf("%s: told %v", tc.name, got)
		}
	}
}

// A step leaves the record that it began from alone, whatever else is made of it.
func TestAStepSharesNothingWithItsRecord(t *testing.T) {
	r := openRecord("i", "ob", 60, 120)
	r.Steps = append(make([]flex.Transition, 0, 8), flex.Transition{State: flex.Scheduled})
	active, err := Step(r, Event{To: flex.Active})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Step(r, Event{To: flex.Expired}); err != nil {
		t.Fatal(err)
	}
	if got := active.Steps[1].State; got != flex.Active {
		t.Errorf("the first step became %s when another was made", got)
	}
}

// That a window has begun is on disk in the moment that it has: whoever
// restarts then, with a clock that was stepped meanwhile, goes on by it.
func TestThatAWindowHasBegunWaitsForNothing(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r := newRig(t, newLedger(), nil)
		defer r.end()
		r.hands.mu.Lock()
		r.hands.extra = func(p *flex.Progress) { p.EchoAt = time.Time{} } // the device takes its time
		r.hands.mu.Unlock()
		r.take(soon("a", 10*time.Second), 1)
		time.Sleep(9900 * time.Millisecond)
		synctest.Wait()
		if rec := r.led.rec("a"); rec.State != flex.Scheduled || rec.Begun.Boot != "" {
			t.Fatalf("%s, begun %+v before its start", rec.State, rec.Begun)
		}
		time.Sleep(200 * time.Millisecond)
		synctest.Wait()
		if rec := r.led.rec("a"); rec.State != flex.Scheduled || rec.Begun.Boot == "" {
			t.Errorf("%s, begun %+v a moment after its start", rec.State, rec.Begun)
		}
	})
}
