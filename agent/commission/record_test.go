package commission

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func someRecord() Record {
	neg := true
	after := int64(61_000)
	return Record{Device: "bat1", Manufacturer: "Acme", Model: "B10", Serial: "s1", Method: "fake", At: time.Unix(1_800_000_000, 0).UTC(), By: "anna <&>", Percent: 5,
		Steps:    []StepResult{{Name: StepUp, Order: flex.OrderSet, Asked: 500, Taken: true, To: 500}},
		Measured: Measured{Direction: DirectionRight, ReactionMS: 1500, SettleMS: 4000, Negative: &neg, Revert: &RevertResult{60_000, &after}}, Problems: []Problem{}}
}

func TestARecordIsOnlyTrustedAsTheSiteSignedIt(t *testing.T) {
	dir := t.TempDir()
	shelf := NewShelf(dir, "harwell")
	if _, err := shelf.Put(someRecord()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "commissioning", "device-bat1.json")
	good, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if r, _, err := NewShelf(dir, "harwell").Get("bat1"); err != nil || r.Measured.ReactionMS != 1500 || r.By != "anna <&>" {
		t.Fatalf("%+v, %v", r, err)
	}
	other := NewShelf(t.TempDir(), "harwell")
	foreign, err := other.Put(someRecord())
	if err != nil {
		t.Fatal(err)
	}
	foreignRaw, err := json.Marshal(foreign)
	if err != nil {
		t.Fatal(err)
	}
	for name, raw := range map[string][]byte{
		"a changed value":         bytes.Replace(good, []byte(`"reaction_ms": 1500`), []byte(`"reaction_ms": 15`), 1),
		"a problem taken out":     bytes.Replace(good, []byte(`"problems": []`), []byte(`"problems": [{"code":"x","text":"y"}]`), 1),
		"signed by another key":   foreignRaw,
		"cut":                     good[:len(good)/2],
		"empty":                   nil,
		"something after it":      append(bytes.Clone(good), "{}"...),
		"too large":               bytes.Repeat([]byte(" "), maxRecord+1),
		"no signature":            []byte(`{"record":{},"key":"","signature":""}`),
		"a record twice the name": bytes.Replace(good, []byte(`"record": {`), []byte(`"record": {"device": "x",`), 1),
	} {
		if bytes.Equal(raw, good) {
			t.Fatalf("%s: nothing was changed", name)
		}
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := shelf.Get("bat1"); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
	if err := os.WriteFile(file, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewShelf(dir, "elsewhere").Get("bat1"); !errors.Is(err, ErrForged) {
		t.Errorf("another site's record: %v", err)
	}
	if err := os.Chmod(filepath.Join(dir, "commissioning", keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := NewShelf(dir, "harwell").Get("bat1"); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("a key that others read: %v", err)
	}
}

func TestWhatARecordSaysOfControl(t *testing.T) {
	plate := flex.Nameplate{Manufacturer: "Acme", Model: "B10", Serial: "s1", Method: "fake"}
	for _, c := range []struct {
		name     string
		record   func(*Record) // nil: none
		plate    func(*flex.Nameplate)
		required bool
		forbid   bool
		missing  string
	}{
		{"a good record", func(*Record) {}, nil, true, false, ""},
		{"none, not required", nil, nil, false, false, "no commissioning record"},
		{"none, but required", nil, nil, true, true, "no commissioning record"},
		{"of another serial, required", func(*Record) {}, func(p *flex.Nameplate) { p.Serial = "s2" }, true, true, "for serial"},
		{"of another serial", func(*Record) {}, func(p *flex.Nameplate) { p.Serial = "s2" }, false, false, "for serial"},
		{"of another way of control", func(*Record) {}, func(p *flex.Nameplate) { p.Method = "new" }, true, true, "commission it again"},
		{"a wrong sign forbids whatever is required", func(r *Record) {
			r.Measured.Direction = DirectionWrong
			r.Problems = []Problem{{ProblemSign, "the meter moved against it", true}}
		}, nil, false, true, "against it"},
		{"a problem that does not forbid", func(r *Record) {
			r.Problems = []Problem{{ProblemNotReached, "went from 0 W to 245 W", false}}
		}, nil, false, false, "to 245 W"},
		{"a problem that does not forbid, required", func(r *Record) {
			r.Problems = []Problem{{ProblemNotReached, "went from 0 W to 245 W", false}}
		}, nil, true, true, "to 245 W"},
		{"an unclear direction", func(r *Record) { r.Measured.Direction = DirectionUnclear }, nil, false, false, "did not prove"},
		{"an unclear direction, required", func(r *Record) { r.Measured.Direction = DirectionUnclear }, nil, true, true, "did not prove"},
	} {
		t.Run(c.name, func(t *testing.T) {
			shelf := NewShelf(t.TempDir(), "harwell")
			if c.record != nil {
				r := someRecord()
				c.record(&r)
				if _, err := shelf.Put(r); err != nil {
					t.Fatal(err)
				}
			}
			p := plate
			if c.plate != nil {
				c.plate(&p)
			}
			st := shelf.Standing("bat1", p, c.required)
			if (st.Refusal != nil) != c.forbid || (st.Missing == "") != (c.missing == "") || !strings.Contains(st.Missing, c.missing) {
				t.Errorf("%+v", st)
			}
			if c.missing == "" && st.Tuning.Lead != 1500*time.Millisecond {
				t.Errorf("%+v", st.Tuning)
			}
		})
	}
}

func TestADeviceIdStaysInItsFolder(t *testing.T) {
	for _, id := range []flex.DeviceID{"../../x", "..", "/etc/passwd", ""} {
		if dir := filepath.Dir(fileOf("/data", id)); dir != "/data" {
			t.Errorf("%q lands in %s", id, dir)
		}
	}
}

func FuzzSigned(f *testing.F) {
	shelf := NewShelf(f.TempDir(), "harwell")
	signed, err := shelf.Put(someRecord())
	if err != nil {
		f.Fatal(err)
	}
	good, err := json.Marshal(signed)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"record":{"a":1e400},"key":"","signature":"AA=="}`))
	f.Add([]byte(`{"record":null}`))
	key, err := shelf.signer()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := ParseSigned(raw)
		if err != nil {
			return
		}
		r, err := s.Verify(ed25519.PublicKey(key[32:]))
		if err == nil && r.Measured.ReactionMS != 1500 {
			t.Fatalf("accepted: %s", raw)
		}
	})
}

// desk runs a desk over a plant within a bubble.
func desk(t *testing.T, p *plant) (*Desk, func()) {
	ctx, end := context.WithCancel(t.Context())
	runner := New(Config{Site: p, Hand: p.ov, Now: func() (time.Time, flex.ClockTrust) { return time.Now(), flex.ClockSynced }})
	d := NewDesk(runner, NewShelf(t.TempDir(), "harwell"), nil, nil)
	done := make(chan struct{}, 2)
	go func() { p.run(ctx); done <- struct{}{} }()
	go func() {
		if err := d.Run(ctx); err != nil {
			t.Error(err)
		}
		done <- struct{}{}
	}()
	time.Sleep(1500 * time.Millisecond)
	return d, func() { end(); <-done; <-done }
}

func TestADeskServesOneWatchedRunAtATime(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		p := newPlant()
		d, end := desk(t, p)
		defer end()
		if err := d.Start(Order{Device: "bat1", By: "anna"}); err != nil {
			t.Fatal(err)
		}
		if err := d.Start(Order{Device: "bat2"}); err == nil {
			t.Error("two at once")
		}
		for d.State("bat1").Phase == PhaseRunning {
			time.Sleep(time.Second)
		}
		st := d.State("bat1")
		if st.Phase != PhaseDone || !st.Proven || st.Record == nil || len(st.Lines) < 4 {
			t.Fatalf("%+v", st)
		}
		if shown, err := d.Show("bat1"); err != nil || !shown.Proven {
			t.Errorf("%+v, %v", shown, err)
		}
		if _, err := d.Show("bat2"); err == nil {
			t.Error("a record out of nothing")
		}
	})
}

func TestARunEndsWithTheConsent(t *testing.T) {
	for _, c := range []struct {
		name string
		then func(d *Desk)
		want string
	}{
		{"cancelled", func(d *Desk) { d.Cancel("bat1") }, "ended by a person"},
		{"nobody watches", func(*Desk) { time.Sleep(2 * watchLimit) }, "nobody was watching"},
	} {
		t.Run(c.name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				p := newPlant()
				d, end := desk(t, p)
				defer end()
				if err := d.Start(Order{Device: "bat1"}); err != nil {
					t.Fatal(err)
				}
				for range 30 {
					time.Sleep(time.Second)
					d.State("bat1")
				}
				if p.free() {
					t.Fatal("nothing was tried")
				}
				c.then(d)
				time.Sleep(5 * time.Second)
				if st := d.State("bat1"); st.Phase != PhaseFailed || !strings.Contains(st.Error, c.want) || !p.free() {
					t.Errorf("%+v, free %v", st, p.free())
				}
			})
		})
	}
}

func TestADeskThatEndsHandsTheDeviceBack(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		p := newPlant()
		runner := New(Config{Site: p, Hand: p.ov, Now: func() (time.Time, flex.ClockTrust) { return time.Now(), flex.ClockSynced }})
		d := NewDesk(runner, NewShelf(t.TempDir(), "harwell"), nil, nil)
		life, kill := context.WithCancel(t.Context())
		defer kill()
		go p.run(life)
		ctx, end := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		time.Sleep(1500 * time.Millisecond)
		if err := d.Start(Order{Device: "bat1"}); err != nil {
			t.Fatal(err)
		}
		for p.free() {
			time.Sleep(time.Second)
			d.State("bat1")
		}
		end()
		if err := <-done; err != nil || !p.free() {
			t.Errorf("%v, free %v", err, p.free())
		}
		if err := d.Start(Order{Device: "bat1"}); err == nil {
			t.Error("an order is taken by nobody")
		}
	})
}
