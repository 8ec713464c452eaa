package main

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

func TestShowTellsAfterwardsWhatWentWrong(t *testing.T) {
	start := time.Date(2026, 3, 1, 17, 0, 0, 0, time.UTC)
	end := start.Add(time.Hour)
	r := flex.Record{ID: "i1", Revision: 1, State: flex.Completed, Window: flex.Window{Start: start, End: end}, ReleasedAt: end.Add(95 * time.Second),
		History: []flex.Spell{
			{Condition: flex.Partial, From: start.Add(time.Minute), To: start.Add(3 * time.Minute), Reason: flex.ReasonSiteLimit, Text: "the site's limit"},
			{Condition: flex.ReleaseOwed, From: end, To: end.Add(95 * time.Second)},
		},
		Energy: []flex.Energy{
			{Asset: "a1", Account: 1, Asked: 9_000_000, Delivered: 8_100_000, Followed: 1800, By: "at meter grid"},
			{Asset: "a1", Account: 2, Asked: 8_640_000, Delivered: 8_100_000, Unmeasured: 360_000, Followed: 1728, By: "at meter grid"},
		}}
	var out strings.Builder
	detailText(&out, local.Detail{Record: r, Outcome: local.OutcomeOf(r)})
	for _, want := range []string{
		"partial      17:01:00.000 UTC to 17:03:00.000 UTC, 2m0s (site_limit: the site's limit)",
		"release_owed 18:00:00.000 UTC to 18:01:35.000 UTC, 1m35s",
		"release late  1m35s after it was due",
		"energy        a1: asked 4.900 kWh, delivered 4.500 kWh (93.8 %) at meter grid; 0.100 kWh asked while nothing was measured; nobody counted for 1m12s of its time",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in\n%s", want, out.String())
		}
	}
	if got := conditions(r); got != "was partial, was release_owed" {
		t.Errorf("the list shows %q", got)
	}
}

func TestWhyTellsThatAReleaseIsOwed(t *testing.T) {
	now := time.Date(2026, 3, 1, 18, 1, 0, 0, time.UTC)
	power := flex.Watts(5000)
	s := flex.DeviceStatus{ID: "bat1", Held: true, ReleaseOwed: true, OwedSince: now.Add(-time.Minute), Error: "no answer",
		Reading: &flex.Reading{Power: &power}, ReadingAge: 61, Proof: flex.Proof{EchoAt: now}, Target: flex.Target{Device: "bat1", Order: flex.OrderNone}}
	var out strings.Builder
	whyText(&out, local.Why{Subject: "bat1", At: now, Now: true, Running: true, Devices: []local.Reasons{{Device: "bat1", Known: true, Target: s.Target, Since: now, Status: &s}}})
	if got := out.String(); !strings.Contains(got, "RELEASE OWED since 2026-03-01 18:00:00 UTC") || !strings.Contains(got, "no answer") || strings.Contains(got, "belongs to itself") {
		t.Error(got)
	}
	if got := powerOf(s); got != "was 5 kW 1m1s ago" {
		t.Errorf("a device that does not answer shows %q", got)
	}
}
