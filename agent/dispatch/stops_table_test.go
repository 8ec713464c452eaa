package dispatch

import (
	"strings"
	"testing"

	"flexd/agent/flex"
)

// order is one row of the table: events in their order, and the one right
// end. Run with -v it prints the table.
type order struct {
	name   string
	events []string
	end    string // state, reason, and the seconds in which power was asked for
	why    string
}

func ordersOfStops() []order {
	return []order{
		{"stop before the start", []string{"0 start A 10-40", "5 stop A"}, "A cancelled (stopped)", "it never began"},
		{"stop while it runs", []string{"0 start A 10-40", "20 stop A"}, "A stopped (stopped) ran 10-20", "on receipt, and the release is proven"},
		{"stop after the end", []string{"0 start A 10-40", "50 stop A"}, "A completed ran 10-40", "what is over stays over"},
		{"stop overtakes its start", []string{"0 stop A", "5 start A 10-40"}, "A refused (stopped)", "the stop left a tombstone"},
		{"stop overtakes a start that is due", []string{"15 stop A", "20 start A 10-40"}, "A refused (stopped)", "the same, within the window"},
		{"stop by name", []string{"0 start A 10-40", "20 stop S of=A"}, "A stopped (stopped) ran 10-20", "`stops` names the target"},
		{"stop by name overtakes", []string{"0 stop S of=A,B", "5 start A 10-40", "6 start B 50-60"}, "A refused (stopped); B refused (stopped)", "a tombstone for each name"},
		{"stop of several", []string{"0 start A 10-40", "1 start B 50-60", "20 stop S of=A,B"}, "A stopped (stopped) ran 10-20; B cancelled (stopped)", "each by its own state"},
		{"stop without a target, by obligation", []string{"0 start A 10-40", "0 start B 50-60 ob=ob2", "20 stop S ob=ob"}, "A stopped (stopped) ran 10-20; B completed ran 50-60", "all of the obligation, no other"},
		{"stop without a target, by asset", []string{"0 start A 10-40", "0 start B 20-40 ob=ob2 asset=b", "25 stop S asset=b"}, "A completed ran 10-40; B stopped (stopped) ran 20-25", "all of the asset, no other"},
		{"stop without a target comes again", []string{"0 start A 10-30", "15 stop S ob=ob", "20 start B 25-40", "30 stop S ob=ob"}, "A stopped (stopped) ran 10-15; B completed ran 25-40", "a repetition does not end what began since"},
		{"another stop without a target", []string{"0 start A 10-30", "15 stop S ob=ob", "20 start B 25-40", "30 stop T ob=ob"}, "A stopped (stopped) ran 10-15; B stopped (stopped) ran 25-30", "a new stop is a new stop"},
		{"stop that names nothing", []string{"0 start A 10-40", "20 stop S"}, "A completed ran 10-40", "nothing can be meant by it"},
		{"stop with broken fields", []string{"0 start A 10-40", "20 stop A broken"}, "A stopped (stopped) ran 10-20", "a stop is refused for trust alone"},
		{"stop by name with broken fields", []string{"0 start A 10-40", "20 stop S of=A broken"}, "A stopped (stopped) ran 10-20", "a stop is refused for trust alone"},
		{"stop with a false signature", []string{"0 start A 10-40", "20 stop A forged"}, "A completed ran 10-40", "not trusted: told as refused, no effect"},
		{"stop repeated", []string{"0 start A 10-40", "20 stop A", "25 stop A", "50 stop A"}, "A stopped (stopped) ran 10-20", "the first counts"},
		{"start repeated after the stop", []string{"0 start A 10-40", "20 stop A", "25 start A 10-40"}, "A stopped (stopped) ran 10-20", "a stop is final for its id"},
		{"higher revision after the stop", []string{"0 start A 10-40 rev=1", "20 stop A", "25 start A 10-60 rev=9"}, "A stopped (stopped) ran 10-20", "a stop is final for its id"},
		{"withdrawn by its status", []string{"0 start A 10-40", "20 withdraw A"}, "A stopped (withdrawn) ran 10-20", "a status word is a stop"},
		{"withdrawn before it was seen", []string{"0 withdraw A", "5 start A 10-40"}, "A refused (stopped)", "the same tombstone"},
		{"power of zero", []string{"0 start A 10-40", "20 zero A"}, "A stopped (withdrawn) ran 10-20", "no power is no dispatch"},
	}
}

func ordersOfSuccession() []order {
	return []order{
		{"newer one of the obligation", []string{"0 start A 10-60", "5 start B 30-50"}, "A superseded (superseded) ran 10-30; B completed ran 30-50", "hand-over without a gap, and no way back"},
		{"newer one while the older runs", []string{"0 start A 10-60", "20 start B 15-50"}, "A superseded (superseded) ran 10-20; B completed ran 20-50", "from its receipt on"},
		{"successor stopped before it begins", []string{"0 start A 10-60", "5 start B 30-50", "20 stop B"}, "A completed ran 10-60; B cancelled (stopped)", "what never began took nothing over"},
		{"successor stopped before both begin", []string{"0 start A 10-60", "5 start B 30-50", "8 stop S of=B"}, "A completed ran 10-60; B cancelled (stopped)", "what never began took nothing over"},
		{"successor stopped after it began", []string{"0 start A 10-60", "5 start B 30-50", "35 stop B"}, "A superseded (superseded) ran 10-30; B stopped (stopped) ran 30-35", "a hand-over is final"},
		{"superseded one stopped", []string{"0 start A 10-60", "5 start B 30-50", "20 stop A"}, "A stopped (stopped) ran 10-20; B completed ran 30-50", "the stop comes first"},
		{"both stopped by obligation", []string{"0 start A 10-60", "5 start B 30-50", "20 stop S ob=ob"}, "A stopped (stopped) ran 10-20; B completed ran 30-50", "what comes later stays, and a person is asked"},
		{"superseded whole, successor stopped", []string{"0 start A 30-50", "5 start B 20-60", "10 stop B"}, "A superseded (superseded); B cancelled (stopped)", "it was told as superseded: final, wants a new instruction"},
		{"last of three stopped", []string{"0 start A 10-70", "1 start B 30-70", "2 start C 50-70", "40 stop C"}, "A superseded (superseded) ran 10-30; B completed ran 30-70; C cancelled (stopped)", "the one before goes on"},
		{"middle of three stopped", []string{"0 start A 10-70", "1 start B 30-70", "2 start C 50-70", "20 stop B"}, "A superseded (superseded) ran 10-50; B cancelled (stopped); C completed ran 50-70", "to where the next newer begins"},
		{"last two of three stopped", []string{"0 start A 10-70", "1 start B 30-70", "2 start C 30-60", "15 stop B", "20 stop C"}, "A completed ran 10-70; B superseded (superseded); C cancelled (stopped)", "nobody is left to take over"},
		{"successor moves away", []string{"0 start A 10-60", "5 start B 30-50", "20 start B 80-90"}, "A completed ran 10-60; B completed ran 80-90", "judged by its terms of now"},
		{"successor moves nearer", []string{"0 start A 10-60", "5 start B 40-50", "20 start B 30-50"}, "A superseded (superseded) ran 10-30; B completed ran 30-50", "judged by its terms of now"},
		{"successor changes its asset", []string{"0 start A 10-60", "5 start B 30-50", "20 start B 30-50 asset=b"}, "A completed ran 10-60; B completed ran 30-50", "nobody takes the asset any more"},
		{"successor changes its obligation", []string{"0 start A 10-60", "5 start B 30-50", "20 start B 40-50 ob=ob2"}, "A superseded (superseded) ran 10-40; B completed ran 40-50", "it holds the asset all the same"},
		{"the free time was given away", []string{"0 start A 10-70", "1 start B 30-40", "2 start C 50-60 ob=ob2", "20 stop B"}, "A superseded (superseded) ran 10-50; B cancelled (stopped); C completed ran 50-60", "another obligation holds the asset from there"},
		{"the free time was given away, successor moves", []string{"0 start A 10-90", "1 start B 30-40", "2 start C 50-60 ob=ob2", "20 start B 70-80"}, "A superseded (superseded) ran 10-50; B completed ran 70-80; C completed ran 50-60", "another obligation holds the asset from there"},
		{"the free time was given away and stopped", []string{"0 start A 10-70", "1 start B 30-40", "2 start C 50-60 ob=ob2", "20 stop B", "25 stop C"}, "A completed ran 10-70; B cancelled (stopped); C cancelled (stopped)", "nobody is left to take over"},
		{"superseded one revised to end where its successor begins", []string{"0 start A 10-60", "5 start B 30-50", "20 start A 10-30"}, "A completed ran 10-30; B completed ran 30-50", "nothing to supersede any more"},
		{"superseded one revised into its successor's time", []string{"0 start A 10-60", "5 start B 30-50", "20 start A 10-40"}, "A completed ran 10-40; B superseded (superseded)", "the revision is the newest word for that time"},
		{"superseded one repeated", []string{"0 start A 10-60", "5 start B 30-50", "20 start A 10-60"}, "A superseded (superseded) ran 10-30; B completed ran 30-50", "a repetition is no news"},
		{"overlap between obligations", []string{"0 start A 10-60", "5 start B 30-50 ob=ob2"}, "A completed ran 10-60; B refused (overlap)", "the later one is refused"},
		{"touching windows of two obligations", []string{"0 start A 10-30", "5 start B 30-50 ob=ob2"}, "A completed ran 10-30; B completed ran 30-50", "touching is no overlap"},
		{"touching windows of one obligation", []string{"0 start A 10-30", "5 start B 30-50"}, "A completed ran 10-30; B completed ran 30-50", "nothing to supersede"},
		{"other assets of one obligation", []string{"0 start A 10-50", "5 start B 30-60 asset=b"}, "A completed ran 10-50; B completed ran 30-60", "no asset is wanted twice"},
		{"the asset is free after a stop", []string{"0 start A 10-60", "20 stop A", "25 start B 30-50 ob=ob2"}, "A stopped (stopped) ran 10-20; B completed ran 30-50", "what was stopped holds nothing"},
	}
}

func ordersOfRevisions() []order {
	return []order{
		{"the same again", []string{"0 start A 10-40", "5 start A 10-40", "20 start A 10-40"}, "A completed ran 10-40", "no news"},
		{"end earlier", []string{"0 start A 10-60", "20 start A 10-40"}, "A completed ran 10-40", "changed content is the next revision"},
		{"end moved into the past", []string{"0 start A 10-60", "30 start A 10-20"}, "A stopped (withdrawn) ran 10-30", "it acts as a stop, on receipt"},
		{"end later", []string{"0 start A 10-40", "20 start A 10-90"}, "A completed ran 10-90", "without a gap"},
		{"end beyond the service window", []string{"0 start A 10-60", "20 start A 10-150"}, "A completed ran 10-60", "refused (outside_window): the old terms stand"},
		{"start later", []string{"0 start A 10-60", "5 start A 20-60"}, "A completed ran 20-60", "before it began"},
		{"start earlier", []string{"0 start A 30-60", "5 start A 10-60"}, "A completed ran 10-60", "before it began"},
		{"start moved ahead while it runs", []string{"0 start A 10-60", "20 start A 30-60"}, "A completed ran 10-20,30-60", "it lets go and begins anew"},
		{"power changed while it runs", []string{"0 start A 10-60", "20 start A 10-60 cap=3"}, "A completed ran 10-60", "without a gap, with the new share"},
		{"power above the contract", []string{"0 start A 10-60", "20 start A 10-60 cap=99"}, "A completed ran 10-60", "refused (above_capacity): the old terms stand"},
		{"revision up", []string{"0 start A 10-40 rev=1", "20 start A 10-60 rev=2"}, "A completed ran 10-60", "the higher replaces"},
		{"revision down", []string{"0 start A 10-60 rev=2", "20 start A 10-40 rev=1"}, "A completed ran 10-60", "refused (old_revision): told, no effect"},
		{"revision down overtaken before it began", []string{"0 start A 10-60 rev=7", "1 start A 50-70 rev=6", "2 start A 10-60 rev=7"}, "A completed ran 10-60", "the highest stands"},
		{"equal revision, other content", []string{"0 start A 10-60 rev=2", "20 start A 10-40 rev=2"}, "A completed ran 10-60", "refused (conflict): what came first stands"},
		{"equal revision, same content", []string{"0 start A 10-60 rev=2", "20 start A 10-60 rev=2"}, "A completed ran 10-60", "no news"},
		{"refused, then revised", []string{"0 start A 10-60 cap=99", "5 start A 10-60"}, "A completed ran 10-60", "a new revision is judged anew"},
		{"refused, then a worse revision", []string{"0 start A 10-60 cap=99", "5 start A 10-150"}, "A refused (outside_window)", "the last refusal is shown"},
		{"revised after its end", []string{"0 start A 10-20", "30 start A 40-60"}, "A completed ran 10-20,40-60", "a new life under the same id"},
		{"revised after it was superseded", []string{"0 start A 30-50", "5 start B 20-60", "10 start A 70-80"}, "A completed ran 70-80; B completed ran 20-60", "a new life, clear of the other"},
		{"too late", []string{"30 start A 10-20"}, "A refused (too_late)", "it was over"},
		{"late start", []string{"20 start A 10-40"}, "A completed ran 20-40", "admitted with late_start"},
		{"outside, then within", []string{"0 start A 110-140", "5 start A 110-120"}, "A completed ran 110-120", "a window that ends with the service window"},
	}
}

func TestOrdersOfEvents(t *testing.T) {
	var table strings.Builder
	for _, group := range [][]order{ordersOfStops(), ordersOfSuccession(), ordersOfRevisions()} {
		for _, tc := range group {
			t.Run(tc.name, func(t *testing.T) {
				end, fault, led := play(t, tc.events)
				if end != tc.end {
					t.Errorf("%s:\nends %s\nwant %s", strings.Join(tc.events, ", "), end, tc.end)
				}
				if fault != "" {
					t.Errorf("%s: %s", strings.Join(tc.events, ", "), fault)
				}
				for id, r := range led.recs {
					if !r.State.Final() {
						t.Errorf("%s is %s for ever", id, r.State)
					}
				}
			})
			table.WriteString("| " + tc.name + " | " + strings.Join(tc.events, "<br>") + " | " + tc.end + " | " + tc.why + " |\n")
		}
	}
	t.Logf("seconds; service window 0-120\n| order | events | end | because |\n|---|---|---|---|\n%s", &table)
}

func TestPowerOfARevision(t *testing.T) {
	_, _, led := play(t, []string{"0 start A 10-60", "20 start A 10-60 cap=3"})
	if r := led.rec("A"); r.Revision != 2 || len(r.Shares) != 1 || r.Shares[0].Power != 3*flex.Kilowatt {
		t.Errorf("revision %d, shares %v", r.Revision, r.Shares)
	}
}
