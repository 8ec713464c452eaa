package ingress

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

const (
	relayOne = "01JCZ0000000000000000000A1"
	relayTwo = "01JCZ0000000000000000000B2"
	ourTopic = "flexd/v1/house-7/down/relay"
)

// doorRig is a relay door with a fake intake, in fake time.
type doorRig struct {
	*RelayDoor
	t    *testing.T
	in   *fakeIntake
	gaps atomic.Int64
}

// inRelayDoor runs a test in fake time with the door running.
func inRelayDoor(t *testing.T, test func(d *doorRig)) {
	clocktest.Bubble(t, func(t *testing.T) {
		d := &doorRig{t: t, in: &fakeIntake{}}
		d.RelayDoor = NewRelayDoor(RelayConfig{Intake: d.in, Topics: []string{ourTopic}, Gap: func() { d.gaps.Add(1) }, Log: quiet()})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		<-d.Ready()
		test(d)
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
}

// hear gives the door an envelope; the body is its number.
func (d *doorRig) hear(relay, kind string, seq uint64) error {
	d.t.Helper()
	return d.raw(RelayEnvelope{Kind: kind, Relay: relay, To: ourTopic, Seq: seq, Body: fmt.Appendf(nil, "%s %d", relay, seq)})
}

func (d *doorRig) raw(e RelayEnvelope) error {
	d.t.Helper()
	raw, err := e.Marshal()
	if err != nil {
		d.t.Fatal(err)
	}
	return d.Take(d.t.Context(), raw)
}

// after lets time pass and gives the gaps told since the last call.
func (d *doorRig) after(wait time.Duration) int64 {
	time.Sleep(wait)
	synctest.Wait()
	return d.gaps.Swap(0)
}

func TestRelayNumbersTellALoss(t *testing.T) {
	type heard struct {
		kind string
		seq  uint64
	}
	post := func(seqs ...uint64) (out []heard) {
		for _, s := range seqs {
			out = append(out, heard{RelayPost, s})
		}
		return out
	}
	beat := func(seq uint64) heard { return heard{RelayBeat, seq} }
	for _, c := range []struct {
		name    string
		heard   []heard
		lost    bool
		missing uint64
	}{
		{"in order nothing is lost", append(post(1, 2, 3), beat(3)), false, 0},
		{"a new relay that has published nothing has lost nothing", []heard{beat(0)}, false, 0},
		{"overtaken is not lost", append(post(2, 1, 4, 3), beat(4)), false, 0},
		{"a beat that overtakes its post is no loss", append([]heard{beat(1)}, post(1)...), false, 0},
		{"a repeated number is not lost", append(post(1, 1, 2, 1, 2), beat(2)), false, 0},
		{"a number in between is lost", post(1, 3), true, 1},
		{"the last number is lost, and a beat tells", append(post(1), beat(2)), true, 1},
		{"the first of a new relay is lost", post(2), true, 1},
		{"a relay that counted before has lost something", post(500, 501), true, 0},
		{"a count that jumps far ahead has lost something", post(1, 1<<40), true, 0},
		{"a count that falls far back has lost something", post(1<<40, 1), true, 0},
		{"the largest number is a number", post(1<<64-1, 1, 1<<64-1), true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			inRelayDoor(t, func(d *doorRig) {
				for _, h := range c.heard {
					if err := d.hear(relayOne, h.kind, h.seq); err != nil {
						t.Fatal(err)
					}
				}
				if lost := d.after(relayLate+2*relayTick) > 0; lost != c.lost {
					t.Errorf("told a loss: %v", lost)
				}
				if st := d.Status(); len(st.Relays) != 1 || st.Relays[0].Missing != c.missing {
					t.Errorf("status %+v, want %d missing", st, c.missing)
				}
			})
		})
	}
}

func TestASilentRelayIsNoticed(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		_ = d.hear(relayOne, RelayPost, 1)
		_ = d.hear(relayTwo, RelayPost, 1)
		for range 5 {
			_ = d.hear(relayOne, RelayBeat, 1)
			_ = d.hear(relayTwo, RelayBeat, 1)
			if n := d.after(30 * time.Second); n != 0 {
				t.Fatal("a gap while both were heard")
			}
		}
		_ = d.hear(relayTwo, RelayBye, 1)
		if n := d.after(90 * time.Second); n != 1 {
			t.Errorf("%d gaps told in 90 s: one relay fell silent, the other said that it ends", n)
		}
		if n := d.after(10 * time.Minute); n != 0 {
			t.Errorf("the same silence is told again, %d times", n)
		}
		if _ = d.hear(relayOne, RelayPost, 2); d.Status().Relays[0].Silent {
			t.Error("it is heard again and counts as silent")
		}
	})
}

func TestGapsAreRationed(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		for i := range 600 { // ten minutes of a relay that counts wildly
			_ = d.hear(relayOne, RelayPost, uint64(i+1)*5000)
			time.Sleep(time.Second)
		}
		if n := d.after(0); n < 25 || n > 36 {
			t.Errorf("%d polls asked for in ten minutes", n)
		}
	})
}

func TestTheSameNumberIsTakenOnce(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		for range 5 {
			_ = d.hear(relayOne, RelayPost, 1)
		}
		if len(d.in.got) != 1 || d.Status().Repeated != 4 {
			t.Errorf("%d handed on, %+v", len(d.in.got), d.Status())
		}
		// A forged envelope does not use up the number of a genuine one.
		d.in.answer(flex.Refuse(flex.ReasonSignatureInvalid, "x"))
		_ = d.hear(relayOne, RelayPost, 2)
		d.in.answer(nil)
		_ = d.hear(relayOne, RelayPost, 2)
		if st := d.Status(); st.Taken != 2 || st.Refused != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestRelayVerdicts(t *testing.T) {
	for _, c := range []struct {
		name  string
		err   error
		again bool
	}{
		{"on disk is done", nil, false},
		{"a forged signature is done with", flex.Refuse(flex.ReasonSignatureInvalid, "x"), false},
		{"a time in the future is done with", flex.Refuse(flex.ReasonStaleTime, "x"), false},
		{"without a key it comes again", flex.Refuse(flex.ReasonNoKey, "x"), true},
		{"a wrapped missing key comes again", &flex.RetryError{After: time.Minute, Err: flex.Refuse(flex.ReasonNoKey, "x")}, true},
		{"a failing store makes it come again", errors.New("disk full"), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			inRelayDoor(t, func(d *doorRig) {
				d.in.answer(c.err)
				err := d.hear(relayOne, RelayPost, 1)
				if (err != nil) != c.again {
					t.Errorf("Take = %v", err)
				}
				if c.again {
					d.in.answer(nil)
					if err := d.hear(relayOne, RelayPost, 1); err != nil || d.Status().Taken != 1 {
						t.Errorf("the second time: %v, %+v", err, d.Status())
					}
				}
			})
		})
	}
	inRelayDoor(t, func(d *doorRig) {
		d.in.boom = true
		if err := d.hear(relayOne, RelayPost, 1); err != nil {
			t.Errorf("a fault: %v", err)
		}
	})
}

func TestARelayThatForgesIsNotHeardForLong(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		d.in.answer(flex.Refuse(flex.ReasonSignatureInvalid, "x"))
		for i := range 5000 {
			_ = d.hear(relayOne, RelayPost, uint64(i+1))
		}
		if n := d.Status().Refused; n > relayFailEach*relayFailBurst+1 {
			t.Errorf("%d forged envelopes were verified at once", n)
		}
		d.in.answer(nil)
		_ = d.hear(relayTwo, RelayPost, 1)
		if d.Status().Taken != 1 {
			t.Error("another relay is not heard either")
		}
		// Many names are no way around it.
		d.in.answer(flex.Refuse(flex.ReasonSignatureInvalid, "x"))
		for i := range 5000 {
			_ = d.hear(fmt.Sprintf("01JCZ000000000000000%06d", i), RelayPost, 1)
		}
		st := d.Status()
		if st.Refused > relayFailAll*relayFailBurst+1 || len(st.Relays) > maxRelays {
			t.Errorf("%d verified, %d relays followed", st.Refused, len(st.Relays))
		}
		if d.after(time.Minute) == 0 {
			t.Error("what was dropped unread is not looked for by polling")
		}
		d.in.answer(nil)
		_ = d.hear(relayTwo, RelayPost, 2)
		if d.Status().Taken != 2 {
			t.Error("the door stays shut after the storm")
		}
	})
}

func TestFiveThousandInAMinutePass(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		began := time.Now()
		for i := range 5000 {
			if err := d.hear(relayOne, RelayPost, uint64(i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(began); took > time.Minute || d.Status().Taken != 5000 {
			t.Errorf("%v, %+v", took, d.Status())
		}
	})
}

func TestMissedAsksForAPoll(t *testing.T) {
	inRelayDoor(t, func(d *doorRig) {
		d.Missed("the connection is new")
		if d.after(0) != 1 || d.Status().Reconnects != 1 {
			t.Errorf("%+v", d.Status())
		}
	})
}

func TestHostileEnvelopesReachNobody(t *testing.T) {
	good := `"v":1,"kind":"post","relay":"` + relayOne + `","to":"` + ourTopic + `","seq":1`
	for name, raw := range map[string]string{
		"nothing":                     "",
		"no JSON":                     "\xff\xfe",
		"a list":                      "[]",
		"null":                        "null",
		"another version":             strings.Replace("{"+good+"}", `"v":1`, `"v":2`, 1),
		"another kind":                strings.Replace("{"+good+"}", "post", "exec", 1),
		"no number":                   strings.Replace("{"+good+"}", `"seq":1`, `"seq":0`, 1),
		"a negative number":           strings.Replace("{"+good+"}", `"seq":1`, `"seq":-1`, 1),
		"a number too large":          strings.Replace("{"+good+"}", `"seq":1`, `"seq":1e30`, 1),
		"another site":                strings.Replace("{"+good+"}", "house-7", "house-8", 1),
		"a relay with a line break":   strings.Replace("{"+good+"}", relayOne, relayOne[:24]+`\n1`, 1),
		"a relay without a name":      strings.Replace("{"+good+"}", relayOne, "", 1),
		"a body that is not base64":   "{" + good + `,"body":"!!"}`,
		"a body above 1 MiB":          "{" + good + `,"body":"` + strings.Repeat("QUFB", 350_000) + `"}`,
		"an envelope above 2 MiB":     "{" + good + `,"x":"` + strings.Repeat("x", 2<<20) + `"}`,
		"deep nesting":                "{" + good + `,"x":` + strings.Repeat("[", 900_000) + `}`,
		"a thousand headers":          "{" + good + `,"header":{` + strings.TrimSuffix(strings.Repeat(`"A":["b"],`, 10), ",") + `,"B":["` + strings.Repeat(`x","`, 1000) + `"]}}`,
		"headers above 96 KiB":        "{" + good + `,"header":{"A":["` + strings.Repeat("x", 100<<10) + `"]}}`,
		"a header with a line break":  "{" + good + `,"header":{"A":["b\r\nC: d"]}}`,
		"a header that is no byte":    "{" + good + `,"header":{"A":["Ā"]}}`,
		"a header's name with spaces": "{" + good + `,"header":{"A b":["c"]}}`,
		"a header twice by its case":  "{" + good + `,"header":{"X-A":["c"],"x-a":["d"]}}`,
		"a header without a value":    "{" + good + `,"header":{"A":[]}}`,
		"a header that is text":       "{" + good + `,"header":{"A":"b"}}`,
		"two documents":               "{" + good + "}{" + good + "}",
		"a path of a kilometre":       "{" + good + `,"path":"` + strings.Repeat("/a", 1000) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			inRelayDoor(t, func(d *doorRig) {
				if err := d.Take(d.t.Context(), []byte(raw)); err != nil {
					t.Errorf("it is to come again: %v", err)
				}
				if len(d.in.got) != 0 || d.Status().Malformed != 1 {
					t.Errorf("%d reached intake, %+v", len(d.in.got), d.Status())
				}
				if d.after(0) != 1 {
					t.Error("what was spoilt is not looked for by polling")
				}
			})
		})
	}
}

func TestRelayEnvelopesKeepEveryByte(t *testing.T) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	value := "\t" + string(every[' ':0x7f]) + string(every[0x80:])
	e := RelayEnvelope{Kind: RelayPost, Relay: relayOne, To: ourTopic, Seq: 1<<64 - 1, At: time.Date(2026, 3, 1, 2, 3, 4, 5, time.UTC), Method: "POST",
		Path: "/webhooks/piclo", Source: "192.0.2.1", Header: map[string][]string{"X-All": {value, "", "<&>"}}, Body: every}
	raw, err := e.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseRelayEnvelope(raw)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, e)
	}
}

func FuzzRelayEnvelope(f *testing.F) {
	for _, e := range []RelayEnvelope{
		{Kind: RelayPost, Relay: relayOne, To: ourTopic, Seq: 1, Header: map[string][]string{"A": {"b\xe9", ""}}, Body: []byte("{}\r\n")},
		{Kind: RelayBeat, Relay: relayTwo, To: ourTopic, Seq: 0},
		{Kind: RelayBye, Relay: relayTwo, To: ourTopic, Seq: 7},
	} {
		raw, err := e.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte(`{"v":1,"kind":"post","header":{"a":[null]}}`))
	f.Add([]byte(`null`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := ParseRelayEnvelope(raw)
		if err != nil {
			return
		}
		if len(e.Body) > maxBody || len(e.Relay) != relayRelay || countOf(e.Header) > maxHeaders || e.Kind == RelayPost && e.Seq == 0 {
			t.Fatalf("out of bounds: %+v", e)
		}
		again, err := e.Marshal()
		if err != nil {
			t.Skip("a time that JSON cannot hold")
		}
		back, err := ParseRelayEnvelope(again)
		if err != nil || fmt.Sprintf("%+v", back) != fmt.Sprintf("%+v", e) {
			t.Fatalf("%+v became %+v, %v", e, back, err)
		}
	})
}

func FuzzRelayDoor(f *testing.F) {
	f.Add([]byte{1, 2, 3, 250, 7}, uint8(0))
	f.Add([]byte{9, 9, 1, 0, 0, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, steps []byte, kind uint8) {
		tr := &relayTrack{holes: map[uint64]time.Time{}}
		now := time.Unix(1_800_000_000, 0)
		seq := uint64(kind) << 60
		for i, s := range steps {
			seq += uint64(s) * uint64(s) * uint64(s)
			if s%5 == 0 {
				seq -= uint64(s) << (s % 64)
			}
			k := RelayPost
			if s%3 == 0 {
				k = RelayBeat
			}
			tr.count(RelayEnvelope{Kind: k, Seq: seq}, i == 0, now)
			now = now.Add(time.Duration(s) * time.Millisecond)
			tr.overdue(now)
			if len(tr.holes) > relayWindow {
				t.Fatalf("%d holes", len(tr.holes))
			}
		}
	})
}
