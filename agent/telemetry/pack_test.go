package telemetry

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/shown"
)

var t0 = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

// measured is an interval of devices at 1 Hz as they measure: power with its
// noise, a battery's charge for every second one, now and then no answer.
func measured(devices, seconds int, seed uint64) Batch {
	rng := rand.New(rand.NewPCG(seed, 1))
	b := Batch{From: t0}
	for d := range devices {
		t := &Track{Device: flex.DeviceID(fmt.Sprintf("inverter-%02d", d))}
		power, soc := flex.Watts(rng.IntN(10_000)-5000), flex.Percent(rng.IntN(10_000))
		for s := range seconds {
			at := time.Duration(s)*time.Second + time.Duration(d*7+rng.IntN(5))*time.Millisecond
			t.Offset = append(t.Offset, at.Round(grain).Seconds())
			power += flex.Watts(rng.NormFloat64() * 20)
			p := power
			t.Power = append(t.Power, &p)
			if rng.IntN(100) == 0 {
				t.Power[s] = nil
			}
			if d%2 == 0 {
				soc += flex.Percent(s % 60 / 59)
				c := soc
				t.SoC = append(t.SoC, &c)
			}
		}
		b.Tracks = append(b.Tracks, t)
	}
	return b
}

func TestABatchIsPackedWithoutLoss(t *testing.T) {
	lone := flex.Watts(-1 << 40)
	for name, b := range map[string]Batch{
		"nothing":          {From: t0},
		"one device":       measured(1, 60, 1),
		"twenty devices":   measured(20, 60, 2),
		"an hour":          measured(2, 3600, 3),
		"no value at all":  {From: t0, Tracks: []*Track{{Device: "x", Offset: []float64{0, 1.5}, Power: []*flex.Watts{nil, nil}}}},
		"far from another": {From: t0, Tracks: []*Track{{Device: "", Offset: []float64{0, -7200.01, 86400}, Power: []*flex.Watts{&lone, new(flex.Watts), &lone}}}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, clock := range []flex.ClockTrust{flex.ClockSynced, flex.ClockHoldover, flex.ClockUntrusted} {
				plain := pack(b, clock)
				small := new(deflater).deflate(plain)
				for _, raw := range [][]byte{plain, small} {
					got, gotClock, err := unpack(raw)
					if err != nil || gotClock != clock || !reflect.DeepEqual(got, b) {
						t.Fatalf("%v, %s: %+v", err, gotClock, got)
					}
				}
			}
		})
	}
}

// What is sent looks as everything else that leaves the agent.
func TestABodyIsWhatIsShown(t *testing.T) {
	for _, b := range []Batch{{}, {From: t0, Tracks: []*Track{}}, {From: t0, Tracks: []*Track{{Device: `"x"<é`}}}, measured(1, 3, 7), measured(20, 60, 8), measured(1, 3600, 9)} {
		want, err := shown.Marshal(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := body(b); err != nil || string(got) != string(want) {
			t.Errorf("%v:\n%s\nwant\n%s", err, got, want)
		}
	}
}

// What a sample costs in the file decides how long the ring reaches back.
func TestASampleCostsTwoBytes(t *testing.T) {
	b, sent := measured(20, 60, 4), 0
	raw, err := shown.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	sent = len(raw)
	plain := pack(b, flex.ClockSynced)
	small := new(deflater).deflate(plain)
	t.Logf("20 devices, a minute at 1 Hz: %d bytes sent, %d packed, %d compressed: %.2f a sample", sent, len(plain), len(small), float64(len(small))/1200)
	if len(small) > 2*1200 {
		t.Errorf("%d bytes for 1200 samples", len(small))
	}
}

func TestABatchOfAnOlderReleaseIsRead(t *testing.T) {
	b := measured(3, 10, 5)
	raw, err := shown.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	got, _, err := unpack(raw)
	if err != nil || !reflect.DeepEqual(got, b) {
		again, _ := json.Marshal(got)
		t.Errorf("%v: %s", err, again)
	}
}

func FuzzUnpack(f *testing.F) {
	plain := pack(measured(2, 5, 6), flex.ClockSynced)
	f.Add(plain)
	f.Add(new(deflater).deflate(pack(measured(2, 60, 6), flex.ClockSynced)))
	f.Add([]byte(`{"from":"2026-03-01T12:00:00Z","tracks":[{"device":"a","t":[0],"power":[null]}]}`))
	f.Add([]byte{formPlain, 1, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, clock, err := unpack(raw)
		if err != nil || len(raw) == 0 || raw[0] == formJSON {
			return
		}
		if again, _, err := unpack(pack(b, clock)); err != nil || len(again.Tracks) != len(b.Tracks) {
			t.Errorf("%v: %+v becomes %+v", err, b, again)
		}
	})
}

func TestSpans(t *testing.T) {
	var s spans
	model := map[uint64]bool{}
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		low := 1 + rng.Uint64N(100)
		high := low + rng.Uint64N(6)
		put := rng.IntN(2) == 0
		if put {
			s = s.add(low, high)
		} else {
			s = s.remove(low, high)
		}
		for n := low; n <= high; n++ {
			model[n] = put
		}
		want := uint64(0)
		for n := range uint64(110) {
			if s.has(n) != model[n] {
				t.Fatalf("%d: %v", n, s)
			}
			if model[n] {
				want++
			}
		}
		if s.count() != want || !slices.IsSortedFunc(s, func(a, b span) int { return int(a.low) - int(b.low) }) {
			t.Fatalf("%v", s)
		}
		again, upto, err := decodeSpans(s.encode(110))
		if err != nil || upto != 110 || !slices.Equal(again, s) {
			t.Fatalf("%v becomes %v, %d, %v", s, again, upto, err)
		}
	}
	s = nil
	for n := uint64(1); n < 1000; n += 3 {
		s = s.add(n, n)
	}
	if len(s) != mostSpans || !s.has(1) || !s.has(997) {
		t.Errorf("%d runs", len(s))
	}
	for n := uint64(1); n < 1000; n += 3 {
		if !s.has(n) {
			t.Fatalf("%d is forgotten", n)
		}
	}
	if _, _, err := decodeSpans([]byte{1, 0x80}); err == nil {
		t.Error("a damaged cursor is one")
	}
}
