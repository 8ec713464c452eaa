package dispatch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// The language of the tables of orders. Times are seconds; the service window
// of every obligation is the first 120.
//
//	"20 start A 10-40 cap=3 rev=2 ob=ob2 asset=b"
//	"20 stop A", "20 stop S of=A,B", "20 stop S ob=ob", "20 stop A broken"
//	"20 withdraw A", "20 zero A"; "forged" makes the signature wrong

// deed is one event: something that the market sends.
type deed struct {
	at    time.Duration
	words []string
	text  string
}

func deedOf(t *testing.T, text string) deed {
	t.Helper()
	words := strings.Fields(text)
	if len(words) < 3 {
		t.Fatalf("event %q", text)
	}
	at, err := strconv.Atoi(words[0])
	if err != nil {
		t.Fatalf("event %q: %v", text, err)
	}
	return deed{at: time.Duration(at) * time.Second, words: words[1:], text: text}
}

// offer is the event as intake gives it; zero is the scene's midnight.
func (d deed) offer(t *testing.T, zero time.Time) flex.Offer {
	t.Helper()
	o := offer(nil)
	o.Received = stampAt(time.Now().UTC())
	o.Obligation.StartTime, o.Obligation.EndTime = 0, 2*time.Minute
	in := &o.Instruction
	in.ID, in.Content = flex.InstructionID(d.words[1]), strings.Join(d.words, " ")
	switch d.words[0] {
	case "start":
	case "stop":
		in.Kind, in.Obligation, in.Assets, in.Window = flex.KindStop, "", nil, flex.Window{}
	case "withdraw":
		in.Status = "withdrawn"
	case "zero":
		in.Capacity = 0
	default:
		t.Fatalf("event %q", d.text)
	}
	for _, w := range d.words[2:] {
		d.word(t, &o, zero, w)
	}
	o.Obligation.ID = in.Obligation
	return o
}

func (d deed) word(t *testing.T, o *flex.Offer, zero time.Time, w string) {
	in := &o.Instruction
	key, value, _ := strings.Cut(w, "=")
	switch key {
	case "cap":
		n, _ := strconv.Atoi(value)
		in.Capacity = flex.Watts(n) * flex.Kilowatt
	case "rev":
		n, _ := strconv.Atoi(value)
		in.Revision, in.HasRevision = int64(n), true
	case "ob":
		in.Obligation = flex.ObligationID(value)
	case "asset":
		in.Assets = []flex.AssetID{flex.AssetID(value)}
		o.Named, o.Obligation.Assets, o.Ours = []flex.MarketAsset{{ID: in.Assets[0], Export: 10_000}}, nil, in.Assets
	case "of":
		for id := range strings.SplitSeq(value, ",") {
			in.Stops = append(in.Stops, flex.InstructionID(id))
		}
	case "broken":
		in.Problems = []flex.Refusal{{Reason: flex.ReasonBadField, Text: "a field cannot be read"}}
		in.Capacity, in.Direction, in.Operator = -1, "sideways", "\x00"
	case "forged":
		o.Signature = string(flex.ReasonSignatureInvalid)
	default:
		from, to, ok := strings.Cut(w, "-")
		a, errA := strconv.Atoi(from)
		b, errB := strconv.Atoi(to)
		if !ok || errA != nil || errB != nil {
			t.Fatalf("event %q: word %q", d.text, w)
		}
		in.Window = flex.Window{Start: zero.Add(time.Duration(a) * time.Second), End: zero.Add(time.Duration(b) * time.Second)}
	}
}

// scene lets events happen to an Engine and notes, each second, which
// dispatch asks for power.
type scene struct {
	t     *testing.T
	rig   *rig
	zero  time.Time
	seq   uint64
	ran   map[flex.InstructionID][]int  // seconds in which it asked for power
	ended map[flex.InstructionID]string // by which event nothing may be asked any more
	// unaimed are the stops without a target that came before.
	unaimed  map[flex.InstructionID]bool
	fault    string
	final    string          // how it all ended
	restarts []time.Duration // when the process is yet to be restarted
}

func newScene(t *testing.T) *scene {
	return &scene{t: t, rig: newRig(t, newLedger(), nil), zero: time.Now().UTC(), ran: map[flex.InstructionID][]int{}, ended: map[flex.InstructionID]string{}, unaimed: map[flex.InstructionID]bool{}}
}

func (s *scene) happen(d deed) {
	s.seq++
	o := d.offer(s.t, s.zero)
	if o.Instruction.IsStop() && !forged(o) {
		s.ending(o.Instruction, d.text)
	}
	s.rig.take(o, s.seq)
}

// ending notes what may not ask for power after the stop. The first stop with
// an id counts where it names no target.
func (s *scene) ending(in flex.Instruction, by string) {
	for _, id := range append([]flex.InstructionID{in.ID}, in.Stops...) {
		s.ended[id] = by
	}
	if len(in.Stops) > 0 || s.unaimed[in.ID] || in.Kind != flex.KindStop {
		return
	}
	s.unaimed[in.ID] = true
	if _, own := s.rig.led.recs[in.ID]; own {
		return
	}
	for id, r := range s.rig.led.recs {
		same := in.Obligation == "" || r.Obligation == in.Obligation
		ours := len(in.Assets) == 0 || slices.ContainsFunc(r.Shares, func(sh flex.AssetShare) bool { return slices.Contains(in.Assets, sh.Asset) })
		if !r.State.Final() && same && ours && meets(in, asked(r), time.Now()) && (in.Obligation != "" || len(in.Assets) > 0) {
			s.ended[id] = by
		}
	}
}

// tick notes what is asked for now and lets a second pass.
func (s *scene) tick() {
	now := time.Now().UTC()
	users := map[flex.AssetID]flex.InstructionID{}
	for _, d := range s.rig.board.Running() {
		if !d.Wants(now) {
			continue
		}
		s.ran[d.ID] = append(s.ran[d.ID], int(now.Sub(s.zero)/time.Second))
		for _, sh := range d.Shares {
			if other, taken := users[sh.Asset]; taken {
				s.fault = fmt.Sprintf("asset %s is asked for by %s and %s at %v", sh.Asset, other, d.ID, now.Sub(s.zero))
			}
			users[sh.Asset] = d.ID
		}
		if by, stopped := s.ended[d.ID]; stopped {
			s.fault = fmt.Sprintf("%s asks for power at %v after %q", d.ID, now.Sub(s.zero), by)
		}
	}
	time.Sleep(time.Second)
	synctest.Wait()
	s.forget()
}

// forget is what control does with the proofs of a dispatch that was handed
// back: when it begins anew they are given anew.
func (s *scene) forget() {
	h := s.rig.hands
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, p := range h.seen {
		if p.Released {
			p.FirstWrite, p.EchoAt = time.Time{}, time.Time{}
			h.seen[id] = p
		}
	}
}

// until lets time pass up to the second.
func (s *scene) until(at time.Duration) {
	for time.Since(s.zero) < at {
		if len(s.restarts) > 0 && time.Since(s.zero) >= s.restarts[0] {
			s.restarts = s.restarts[1:]
			s.restart()
		}
		s.tick()
	}
}

// restart ends the Engine and begins another on the same store, with devices
// as they were left.
func (s *scene) restart() {
	s.rig.end()
	seen := s.rig.hands.seen
	s.rig = newRig(s.t, s.rig.led, nil, func(r *rig) { r.hands.seen = seen })
	synctest.Wait()
}

// spans are the seconds as "10-30,40-60".
func spans(seconds []int) string {
	var out []string
	for i := 0; i < len(seconds); {
		j := i
		for j+1 < len(seconds) && seconds[j+1] == seconds[j]+1 {
			j++
		}
		out = append(out, fmt.Sprintf("%d-%d", seconds[i], seconds[j]+1))
		i = j + 1
	}
	return strings.Join(out, ",")
}

// end tells how each id ended: its state, and when it asked for power.
func (s *scene) end() string {
	var ids []flex.InstructionID
	s.rig.led.set(func() {
		for id := range s.rig.led.recs {
			ids = append(ids, id)
		}
	})
	slices.Sort(ids)
	var out []string
	for _, id := range ids {
		rec := s.rig.led.rec(id)
		text := string(id) + " " + string(rec.State)
		if rec.Reason != "" {
			text += " (" + string(rec.Reason) + ")"
		}
		if ran := spans(s.ran[id]); ran != "" {
			text += " ran " + ran
		}
		out = append(out, text)
	}
	return strings.Join(out, "; ")
}

// play runs the events at their times, to the end of every window.
func play(t *testing.T, events []string) (end, fault string, led *ledger) {
	t.Helper()
	deeds := make([]deed, len(events))
	for i, text := range events {
		deeds[i] = deedOf(t, text)
	}
	s := perform(t, deeds, 125*time.Second)
	return s.final, s.fault, s.rig.led
}

// perform lets the deeds happen and looks on until the given second. The
// process is restarted at the given ones.
func perform(t *testing.T, deeds []deed, until time.Duration, restarts ...time.Duration) (s *scene) {
	clocktest.Bubble(t, func(t *testing.T) {
		s = newScene(t)
		s.restarts = restarts
		defer func() { s.rig.end() }()
		for _, d := range deeds {
			s.until(d.at)
			s.happen(d)
		}
		s.until(until)
		s.final = s.end()
	})
	return s
}
