package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"flexd/agent/flex"
)

// lookAfter is when the registers are read again after a release that followed
// a broken connection: a gateway or the network may have kept a write of ours,
// and deliver it now. After that every sample is watched.
var lookAfter = [...]time.Duration{2 * time.Second, 10 * time.Second, time.Minute}

// movesFor is how many samples in a row a device must move as it was told, where
// its registers cannot tell.
const movesFor = 3

// aftermath watches a free device for a setpoint of ours that arrives late. It
// lasts until the next take-over, over restarts too.
type aftermath struct {
	entry      flex.JournalEntry // as it was released
	told       flex.Target
	power      flex.Watts
	since      time.Time
	looks      int  // of lookAfter that are done
	known      bool // the two that follow were found out
	blind      bool // the registers hold it though the device is free: they cannot tell
	controlled bool // somebody else's control was in force right after the release
	idle       bool // it was seen not to act
	left       bool // it was seen to leave what it was told
	moves      int  // samples in a row in which it does what it was told
	at         time.Time
}

// watch begins an aftermath where the connection broke since the first write;
// mu is held. It gives the entry that stays on disk, nil for none.
func (s *slot) watch(e flex.JournalEntry, now time.Time) *flex.JournalEntry {
	broke := s.broke || s.c.cfg.Breaks(s.id()) != s.breaks
	s.broke, s.after = false, nil
	var d detail
	if !broke || json.Unmarshal(e.Detail, &d) != nil || d.Target.Order == flex.OrderNone || d.Target.Order == "" {
		return nil
	}
	e.Released = s.c.cfg.Stamp()
	s.after = &aftermath{entry: e, told: d.Target, power: d.Target.Power, since: now, at: now}
	return &e
}

// resumeWatch goes on with the aftermath of an earlier process; mu is held.
func (s *slot) resumeWatch(e flex.JournalEntry, now time.Time) {
	var d detail
	if json.Unmarshal(e.Detail, &d) != nil {
		return
	}
	s.after = &aftermath{entry: e, told: d.Target, power: d.Target.Power, since: now, at: now,
		known: d.Free != nil, idle: true, left: true}
	if d.Free != nil {
		s.after.blind, s.after.controlled = d.Free.Blind, d.Free.Controlled
	}
}

// freely is what was found on the device right after its release.
type freely struct {
	Blind      bool `json:"blind,omitempty"`
	Controlled bool `json:"controlled,omitempty"`
}

// doLook reads the registers of a free device again.
func (s *slot) doLook(ctx context.Context) {
	s.mu.Lock()
	a := s.after
	s.mu.Unlock()
	if a == nil {
		return
	}
	late, certain, err := s.look(ctx, a)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case s.after != a:
	case err != nil:
		a.at = now.Add(time.Second)
	case late:
		s.late(a, certain)
	default:
		for a.looks < len(lookAfter) && now.Sub(a.since) >= lookAfter[a.looks] {
			a.looks++
		}
		if a.at = now.Add(24 * time.Hour); a.looks < len(lookAfter) {
			a.at = a.since.Add(lookAfter[a.looks])
		} else {
			s.noteClear(CodeLateWrite)
		}
	}
}

// look tells whether a setpoint stands in the device, and whether it is
// certainly ours.
func (s *slot) look(ctx context.Context, a *aftermath) (late, ours bool, err error) {
	rec, err := s.dev.Verify(ctx, a.told)
	if errors.Is(err, flex.ErrUnsupported) {
		rec.Echo, err = false, nil
	}
	if err != nil {
		return false, false, err
	}
	snap, err := s.dev.Snapshot(ctx)
	if err != nil {
		return false, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !a.known {
		a.known, a.blind, a.controlled = true, rec.Echo, snap.Controlled
		raw, err := json.Marshal(detail{Target: a.told, Free: &freely{a.blind, a.controlled}})
		if err == nil && s.after == a {
			a.entry.Detail = raw
			s.book.set(&a.entry, false)
		}
		return false, false, nil
	}
	ours = rec.Echo && !a.blind
	return ours || snap.Controlled && !a.controlled, ours, nil
}

// late hands the device back once more; mu is held.
func (s *slot) late(a *aftermath, certain bool) {
	e := a.entry
	e.Released = flex.Stamp{}
	s.entry, s.stands, s.broke, s.after, s.belated = &e, true, true, nil, &belated{certain}
	s.told, s.power = free(s.id()), 0
	s.book.set(&e, true)
	s.noteDue(time.Now())
	s.unit.cut()
	poke(s.unit.wake)
}

// belated is a setpoint on a free device. It is ours where the registers say so,
// or where its release had something to undo.
type belated struct{ ours bool }

// sayLate tells of a write that arrived after its release, once the release
// has found it; what others have written is theirs. mu is held.
func (s *slot) sayLate(rec flex.Receipt) {
	b := s.belated
	if s.belated = nil; b == nil || rec.Foreign || !b.ours {
		return
	}
	s.c.cfg.Health.Raise(CodeLateWrite, string(s.id()),
		fmt.Sprintf("%s was free and took a setpoint of ours that arrived late, after a connection broke: it is handed back again; see the network and the gateway between", s.id()))
}

// judgeFree watches a device that is free; mu is held.
func (s *slot) judgeFree(r flex.Reading, now time.Time) {
	a := s.after
	if a == nil || s.entry != nil || !a.known {
		return
	}
	suspect := false
	if r.Acting != nil {
		suspect = *r.Acting && a.idle
		a.idle = a.idle || !*r.Acting
	}
	if r.Power != nil && a.told.Order == flex.OrderSet && a.power != 0 {
		near := (*r.Power - a.power).Abs() <= s.tolerance(a.power)
		a.left = a.left || !near
		if a.moves++; !near || !a.left {
			a.moves = 0
		}
		suspect = suspect || a.moves == 1 // what it does all day is looked at once
	}
	switch {
	case a.blind && a.moves >= movesFor:
		s.late(a, true)
	case suspect && a.at.After(now):
		a.at = now
		poke(s.unit.wake)
	}
}
