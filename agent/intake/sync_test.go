package intake

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

func (b *fakeBook) events(t *testing.T) (out []flex.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.outbox {
		var ev flex.Event
		if m.Stream != flex.StreamEvent || m.Schema != "event/1" || json.Unmarshal(m.Body, &ev) != nil {
			t.Errorf("message %+v is no event", m)
		}
		out = append(out, ev)
	}
	return out
}

func full() flex.Obligation {
	return flex.Obligation{ID: "ob1", Competition: "c1", Bid: "b1", Operator: "SPEN", Assets: []flex.AssetID{"ours", "z"}, Capacity: 5000, Direction: flex.Export,
		StartDate: "1999-01-01", EndDate: "2030-01-01", Days: []time.Weekday{time.Monday, time.Tuesday}, StartTime: 16 * time.Hour, EndTime: 24 * time.Hour,
		MaxRuntime: time.Hour, Zone: "Europe/London"}
}

func TestNoticesOfObligations(t *testing.T) {
	gone := full()
	gone.GoneAt = time.Unix(1, 0)
	with := func(o flex.Obligation, change func(*flex.Obligation)) flex.Obligation { change(&o); return o }
	for _, tc := range []struct {
		name     string
		was      *flex.Obligation
		is       flex.Obligation
		code     string
		severity string
		text     string // a part of it
	}{
		{"a new one tells its terms", nil, full(), EventObligationNew, "info", "new contract: 5 kW export, 1999-01-01 to 2030-01-01, 16:00 to 24:00, assets ours z, operator SPEN"},
		{"capacity", new(full()), with(full(), func(o *flex.Obligation) { o.Capacity = 6500 }), EventObligationChanged, "warning", "capacity 5 kW → 6.5 kW; what was"},
		{"several fields, each named", new(full()), with(full(), func(o *flex.Obligation) {
			o.EndDate, o.EndTime, o.Days, o.BankHolidays = "2029-01-01", 23*time.Hour+30*time.Minute, nil, true
		}), EventObligationChanged, "warning", "end date 2030-01-01 → 2029-01-01; hours 16:00 to 24:00 → 16:00 to 23:30; service days mon tue → every day; bank holidays excluded → included;"},
		{"assets", new(full()), with(full(), func(o *flex.Obligation) { o.Assets = []flex.AssetID{"z"} }), EventObligationChanged, "warning", "assets ours z → z"},
		{"the rest", new(full()), with(full(), func(o *flex.Obligation) {
			o.Direction, o.StartDate, o.Region, o.Zone, o.MaxRuntime, o.Operator, o.Competition, o.Bid = flex.Import, "", "scotland", "UTC", 0, "", "c2", "b2"
		}), EventObligationChanged, "warning", "direction export → import; start date 1999-01-01 → (none); region (none) → scotland; zone Europe/London → UTC; run time 1h0m0s → 0s; operator SPEN → (none); competition c1 → c2; bid b1 → b2"},
		{"gone", new(full()), gone, EventObligationGone, "warning", "lists it no longer"},
		{"back as it was", &gone, full(), EventObligationBack, "info", "lists it again"},
		{"back and changed", &gone, with(full(), func(o *flex.Obligation) { o.Capacity = 1 }), EventObligationBack, "info", "again, changed: capacity 5 kW → 1 W"},
		{"assets in another order are no news", new(full()), with(full(), func(o *flex.Obligation) { o.Assets = []flex.AssetID{"z", "ours"} }), "", "", ""},
		{"parts that are not read are no news", new(full()), with(full(), func(o *flex.Obligation) { o.Raw = []byte(`{"x":1}`) }), "", "", ""},
		{"hostile words stay short and on one line", new(full()), with(full(), func(o *flex.Obligation) { o.Operator = "a\nb\x1b[2J\xff" + strings.Repeat("é", 9999) }), EventObligationChanged, "warning", "operator SPEN → a?b?[2J\ufffdé"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			have := catalogue{obligations: map[flex.ObligationID]flex.Obligation{}}
			if tc.was != nil {
				have.obligations["ob1"] = *tc.was
			}
			evs := notices(have, []flex.Obligation{tc.is}, time.Unix(2, 0))
			if tc.code == "" {
				if len(evs) > 0 {
					t.Fatalf("events %+v, want none", evs)
				}
				return
			}
			if len(evs) != 1 || evs[0].Code != tc.code || evs[0].Severity != tc.severity || evs[0].Subject != "ob1" || !strings.Contains(evs[0].Text, tc.text) {
				t.Fatalf("events %+v, want %s with %q", evs, tc.code, tc.text)
			}
			if s := evs[0].Text; len(s) > maxEventText || !utf8.ValidString(s) || strings.ContainsAny(s, "\n\x1b") {
				t.Errorf("text %q", s)
			}
		})
	}
}

func TestManyNoticesAreOne(t *testing.T) {
	have := catalogue{obligations: map[flex.ObligationID]flex.Obligation{}}
	var changed []flex.Obligation
	for i := range maxContractEvents {
		o := full()
		o.ID = flex.ObligationID(fmt.Sprint(i))
		changed = append(changed, o)
	}
	if evs := notices(have, changed, time.Now()); len(evs) != maxContractEvents {
		t.Errorf("%d events for %d contracts", len(evs), maxContractEvents)
	}
	more := full()
	have.obligations["ob1"] = full()
	more.Capacity = 1
	evs := notices(have, append(changed, more), time.Now())
	if len(evs) != 1 || evs[0].Code != EventObligations || evs[0].Severity != "warning" || !strings.HasPrefix(evs[0].Text, "21 obligations at once: 20 new, 1 changed") {
		t.Errorf("events %+v, want one summary", evs)
	}
}

func TestSyncAnnouncesContracts(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		s.cfg.Region = func(operator string) string { return map[string]string{"SPEN": "scotland"}[operator] }
		r.market.obs = []flex.Obligation{full(), full()} // listed twice
		r.market.obs[1].Capacity = 1
		runSync(t, s)
		synctest.Wait()
		codes := func() string {
			var out []string
			for _, ev := range r.book.events(t) {
				out = append(out, strings.TrimPrefix(ev.Code, "obligation_"))
			}
			return strings.Join(out, " ")
		}
		step := func(want string, change func(), wait time.Duration) {
			t.Helper()
			r.market.set(change)
			s.Wake()
			time.Sleep(wait)
			synctest.Wait()
			if got := codes(); got != want {
				t.Fatalf("told %q, want %q", got, want)
			}
		}
		step("new", func() {}, time.Hour)
		if got := r.book.obs["ob1"]; got.Region != "scotland" || got.Capacity != 5000 {
			t.Errorf("stored %+v", got)
		}
		step("new changed", func() { r.market.obs = r.market.obs[:1]; r.market.obs[0].Capacity = 7000 }, syncGap)
		step("new changed", func() { r.market.obsErr = errors.New("half a list"); r.market.obs = nil }, time.Hour)
		step("new changed gone", func() { r.market.obsErr = nil }, time.Hour)
		step("new changed gone back", func() { r.market.obs = []flex.Obligation{full()} }, time.Hour)
		r.book.mu.Lock()
		defer r.book.mu.Unlock()
		lines := 0
		for _, a := range r.book.audit {
			if strings.HasPrefix(a.What, "obligation_") && a.Subject == "ob1" && a.Text != "" {
				lines++
			}
		}
		if lines != 4 {
			t.Errorf("%d lines in the diary, want 4: %+v", lines, r.book.audit)
		}
	})
}

// TestAnnouncedOnceThoughTheStoreFails: the event belongs to the transaction.
func TestAnnouncedOnceThoughTheStoreFails(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		r.book.failNext = 2
		runSync(t, s)
		time.Sleep(time.Hour)
		synctest.Wait()
		if evs := r.book.events(t); len(evs) != 1 || evs[0].Code != EventObligationNew {
			t.Errorf("told %+v", evs)
		}
	})
}
