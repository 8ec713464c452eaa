package dispatch

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func waiting(seq uint64, id flex.InstructionID, ob flex.ObligationID, from, to int) flex.Offer {
	t0 := time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
	o := flex.Offer{Seq: seq, Instruction: flex.Instruction{ID: id, Kind: flex.KindStart, Obligation: ob, Capacity: 1000}}
	o.Instruction.Window = flex.Window{Start: t0.Add(time.Duration(from) * time.Minute), End: t0.Add(time.Duration(to) * time.Minute)}
	return o
}

func TestWhatBeginsFirstIsDecidedFirst(t *testing.T) {
	stop := waiting(9, "s", "o1", 0, 0)
	stop.Instruction.Kind, stop.Instruction.Stops = flex.KindStop, []flex.InstructionID{"late"}
	all := stop
	all.Instruction.Stops = nil
	for _, tc := range []struct {
		name   string
		offers []flex.Offer
		want   string
	}{
		{"by start", []flex.Offer{waiting(1, "b", "o1", 60, 90), waiting(2, "a", "o1", 10, 20)}, "[2 1]"},
		{"windows that meet keep their order", []flex.Offer{waiting(1, "b", "o1", 15, 90), waiting(2, "a", "o1", 10, 20), waiting(3, "c", "o1", 5, 9)}, "[3 1 2]"},
		{"of another obligation they do not meet", []flex.Offer{waiting(1, "b", "o1", 15, 90), waiting(2, "a", "o2", 10, 20)}, "[2 1]"},
		{"revisions keep their order", []flex.Offer{waiting(1, "a", "o1", 50, 60), waiting(2, "a", "o1", 10, 20), waiting(3, "c", "o1", 30, 31)}, "[1 2 3]"},
		{"a stop comes first, with what it is about", []flex.Offer{waiting(1, "early", "o1", 10, 20), waiting(5, "late", "o1", 50, 60), stop}, "[5 9 1]"},
		{"a stop for all keeps all in order", []flex.Offer{waiting(1, "b", "o1", 50, 60), waiting(2, "a", "o1", 10, 20), waiting(3, "x", "o2", 1, 2), all}, "[1 2 9 3]"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []uint64
			for _, o := range byUrgency(tc.offers) {
				got = append(got, o.Seq)
			}
			if fmt.Sprint(got) != tc.want {
				t.Errorf("%v, want %s", got, tc.want)
			}
		})
	}
}

// Whatever the offers, none is lost and related ones stay in order.
func TestUrgencyKeepsTheOrderOfWhatIsRelated(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	for range 200 {
		var offers []flex.Offer
		for n := range 30 {
			from := r.IntN(300)
			offers = append(offers, waiting(uint64(n+1), flex.InstructionID(fmt.Sprint(r.IntN(20))), flex.ObligationID(fmt.Sprint(r.IntN(3))), from, from+1+r.IntN(40)))
		}
		got := byUrgency(offers)
		at := map[uint64]int{}
		for i, o := range got {
			at[o.Seq] = i
		}
		if len(at) != len(offers) {
			t.Fatalf("seed %d: %d of %d", seed, len(at), len(offers))
		}
		for i, a := range offers {
			for _, b := range offers[i+1:] {
				related := a.Instruction.ID == b.Instruction.ID ||
					a.Instruction.Obligation == b.Instruction.Obligation && a.Instruction.Window.Overlaps(b.Instruction.Window)
				if related && at[a.Seq] > at[b.Seq] {
					t.Fatalf("seed %d: %d is decided after %d", seed, a.Seq, b.Seq)
				}
			}
		}
	}
}

// What begins now is decided at once behind thousands that are not, which are
// not read from the store again for it.
func TestTheUrgentBehindThousandsIsDecidedAtOnce(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		led := newLedger()
		const many = 2000
		for n := range many {
			led.offer(soon(flex.InstructionID(fmt.Sprintf("i%d", n)), time.Duration(n+2)*time.Minute), uint64(n+1))
		}
		led.slow = 50 * time.Millisecond // of every commit
		r := newRig(t, led, nil)
		defer r.end()
		led.offer(soon("now", 0), many+1)
		r.eng.Wake()
		began := time.Now()
		for led.said("now") == "" {
			time.Sleep(10 * time.Millisecond)
		}
		if took := time.Since(began); took > time.Second || len(r.led.rec("now").Steps) == 0 {
			t.Errorf("it was decided after %v", took)
		}
		led.mu.Lock()
		defer led.mu.Unlock()
		if led.read != many+1 {
			t.Errorf("%d offers were read, want each of %d once", led.read, many+1)
		}
	})
}
