package agent_test

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
	"flexd/drivers/sim"
	"flexd/store"
)

// nominate writes the same power for the hours around now, and hands it in.
func (s *site) nominate(kilowatts string) (string, int) {
	s.t.Helper()
	lines := []string{"start,kW"}
	for n := range 8 {
		lines = append(lines, fmt.Sprintf("%s,%s", time.Now().UTC().Truncate(30*time.Minute).Add(time.Duration(n-2)*30*time.Minute).Format(time.RFC3339), kilowatts))
	}
	file := filepath.Join(s.dir, "nomination.csv")
	must(s.t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o600))
	return s.command("baseline", "set", assetID, file)
}

// A dispatch is held against the baseline that was nominated before it, at the
// meter, whatever is nominated afterwards; without one it waits.
func TestADispatchKeepsTheBaselineItWasAdmittedWith(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2, RampRate: 5000})}, load: 1500,
		asset: "control: meter, reference: baseline, baseline: {method: nominated}"})
	s.inside()
	far := second(time.Hour)
	s.instruct(ask("i0", "0.00200", "export", far, far.Add(time.Minute)))
	s.await(5*time.Second, "waits for a baseline", func() bool {
		rec, ok := s.record("i0")
		return ok && rec.State == flex.Waiting && rec.Reason == flex.ReasonNoBaseline
	})
	if out, code := s.command("status"); code != 0 || !strings.Contains(out, "nothing is nominated") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.nominate("-1.0"); code != 0 || !strings.Contains(out, "-1 kW") {
		t.Fatalf("%d: %s", code, out)
	}
	start := second(3 * time.Second)
	end := start.Add(20 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, end))
	s.await(5*time.Second, "admitted", func() bool { rec, ok := s.record("i1"); return ok && rec.State == flex.Scheduled })
	if out, code := s.nominate("-9.0"); code != 0 || !strings.Contains(out, "-9 kW") {
		t.Fatalf("%d: %s", code, out)
	}
	until(start)
	s.await(10*time.Second, "3 kW above -1 kW at the meter", func() bool { return math.Abs(s.plant.Grid()-2000) < 100 })
	if out, code := s.command("why", assetID); code != 0 || !strings.Contains(out, "its meter shall show 2 kW, from a baseline of -1 kW") {
		t.Errorf("%d: %s", code, out)
	}
	until(end)
	s.await(10*time.Second, "completed", func() bool { rec, _ := s.record("i1"); return rec.State == flex.Completed })
	rec, _ := s.record("i1")
	if len(rec.Baselines) != 1 || rec.Baselines[0].Method != "nominated" || rec.Dispatch().Baseline(assetID, start) != -1000 {
		t.Errorf("%+v", rec.Baselines)
	}
	if out, code := s.command("show", "i1"); code != 0 || !strings.Contains(out, "by nominated (nominated by ") || !strings.Contains(out, "-1 kW") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.command("baseline", "clear", assetID); code != 0 {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.command("baseline", "clear", assetID); code != 4 || !strings.Contains(out, "nothing is nominated") {
		t.Errorf("%d: %s", code, out)
	}
	s.await(90*time.Second, "a minute's interval", func() bool {
		out, code := s.command("intervals", assetID, "--step", "1m", "--json")
		var got local.Intervals
		if code != 0 {
			t.Fatalf("%d: %s", code, out)
		}
		parse(t, out, &got)
		return len(got.Rows) > 0 && got.By == "grid"
	})
	// What was measured is exported up to this second, though nothing waits for it.
	if out, code := s.command("telemetry", "export", "--device", "grid"); code != 0 || strings.Count(out, ",grid,") < 20 || !strings.HasPrefix(out, "time,device,power_w,soc_percent\n") {
		t.Errorf("%d: %s", code, out)
	}
}

// What was kept on earlier days is what a dispatch is held against, and it is
// shown wherever the dispatch is.
func TestADispatchIsHeldAgainstEarlierDays(t *testing.T) {
	t.Parallel()
	s := newSite(t, siteOptions{batteries: []sim.Battery{aBattery(sim.Options{PctSF: -2})}, load: 400,
		asset: "reference: baseline, baseline: {method: 10-of-10, adjust: off}"})
	db, err := store.Open(filepath.Join(s.dir, "state", "state.db"), store.Options{Log: slog.New(slog.DiscardHandler), Now: time.Now})
	must(t, err)
	var list []flex.Interval
	today := time.Now().UTC().Truncate(15 * time.Minute)
	for at := today.AddDate(0, 0, -40); at.Before(today); at = at.Add(15 * time.Minute) {
		list = append(list, flex.Interval{Start: at, Step: 15 * time.Minute, Energy: -2345 * 900, Seen: 15 * time.Minute, Quality: flex.QualityCounter})
	}
	must(t, db.PutIntervals(t.Context(), map[flex.AssetID][]flex.Interval{assetID: list}, nil))
	must(t, db.Close())
	s.inside()
	start := second(2 * time.Second)
	s.instruct(ask("i1", "0.00300", "export", start, start.Add(4*time.Second)))
	s.await(10*time.Second, "admitted", func() bool { rec, ok := s.record("i1"); return ok && rec.State == flex.Scheduled })
	rec, _ := s.record("i1")
	if rec.Dispatch().Baseline(assetID, start) != -2345 || !strings.Contains(rec.Baselines[0].Detail, "mean of ") {
		t.Errorf("%+v", rec.Baselines)
	}
	s.await(5*time.Second, "announced with its baseline", func() bool {
		return slices.ContainsFunc(s.ear.on("ack"), func(h heard) bool {
			return h.State == "admitted" && len(h.Baselines) == 1 && h.Baselines[0].Method == "10-of-10" && h.Baselines[0].at(start) == -2345
		})
	})
	if out, code := s.nominate("1"); code != 4 || !strings.Contains(out, "is not held against nominations") {
		t.Errorf("%d: %s", code, out)
	}
	if out, code := s.command("intervals", assetID, "--day", today.AddDate(0, 0, -3).Format(time.DateOnly), "--csv"); code != 0 || strings.Count(out, ",-2345,") < 46 {
		t.Errorf("%d: %s", code, out)
	}
}
