package dispatch

import (
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// What the state of this minute speaks against is not turned down for a duty
// that is far ahead: a battery at 5 % or a hold of ten minutes says nothing
// about a window in ten days. A rating does.
func TestFarOffersAreNotAnsweredByThisMinutesState(t *testing.T) {
	empty := flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonEnergyInsufficient, Text: "the battery is at 5 %"}
	held := flex.Foresight{Known: true, Missing: 5000, Reason: flex.ReasonLocalHold, Text: "on hold by ann"}
	away := flex.Foresight{Text: "bat1 is not read at present"}
	good, never := flex.Foresight{Known: true}, flex.Foresight{Text: "bat1 has not told its rating yet"}
	rated := flex.Foresight{Known: true, Missing: 2000, Reason: flex.ReasonRating, Text: "rated 3 kW"}
	for name, tc := range map[string]struct {
		ahead     time.Duration
		now, last flex.Foresight
		cured     time.Duration // from when on the state is good; 0: never
		after     time.Duration // by when it is answered, 0: at once
		said      string
		reason    flex.Reason
	}{
		"an empty battery, ten days ahead":       {240 * time.Hour, empty, good, 0, 54 * time.Minute, "accept i/1", ""},
		"a hold of ten minutes, ten days ahead":  {240 * time.Hour, held, good, 10 * time.Minute, 10 * time.Minute, "accept i/1", ""},
		"a device away, ten days ahead":          {240 * time.Hour, away, good, 0, 54 * time.Minute, "accept i/1", ""},
		"above the rating, ten days ahead":       {240 * time.Hour, empty, rated, 0, 0, "reject i/1", flex.ReasonRating},
		"all well, ten days ahead":               {240 * time.Hour, good, good, 0, 0, "accept i/1", ""},
		"nothing known of it, ten days ahead":    {240 * time.Hour, away, never, 0, 54 * time.Minute, "reject i/1", flex.ReasonDeviceUnavailable},
		"an empty battery, in half an hour":      {30 * time.Minute, empty, good, 0, 0, "reject i/1", flex.ReasonEnergyInsufficient},
		"an empty battery, an hour and a bit":    {80 * time.Minute, empty, good, 0, 20 * time.Minute, "reject i/1", flex.ReasonEnergyInsufficient},
		"an empty battery that is charged since": {80 * time.Minute, empty, good, 15 * time.Minute, 15 * time.Minute, "accept i/1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				m := newMarket(AnswerIfDeliverable)
				began := time.Now()
				r := newRig(t, newLedger(), nil, answered(m), func(r *rig) {
					r.cfg.ForeseeFar = func(flex.Dispatch) flex.Foresight { return tc.last }
					r.cfg.Foresee = func(flex.Dispatch) flex.Foresight {
						if tc.cured > 0 && time.Since(began) >= tc.cured {
							return good
						}
						return tc.now
					}
				})
				defer r.end()
				r.take(soon("i", tc.ahead), 1)
				if tc.after > 0 {
					if m.heard() != "" || r.led.rec("i").State != flex.Pending || !strings.Contains(r.led.rec("i").Text, "judged again, at the latest at") {
						t.Fatalf("answered at once: %q, %s (%s)", m.heard(), r.led.rec("i").State, r.led.rec("i").Text)
					}
					pass(tc.after - 10*time.Second)
					if m.heard() != "" {
						t.Fatalf("answered too early: %q", m.heard())
					}
				}
				pass(20 * time.Second)
				if m.heard() != tc.said || r.led.rec("i").Reason != tc.reason {
					t.Errorf("heard %q, %s (%s: %s)", m.heard(), r.led.rec("i").State, r.led.rec("i").Reason, r.led.rec("i").Text)
				}
				if _, cried := r.alarms.on["answer_due:i"]; cried {
					t.Error("a person was called although it is answered by itself")
				}
			})
		})
	}
}
