package intake

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// A rule under another name than the market's protects nothing: that is told,
// and taken back when the names fit.
func TestOperatorsThatDoNotFitAreTold(t *testing.T) {
	for name, tc := range map[string]struct {
		rules  []Known
		market string
		ours   []flex.AssetID
		alarm  string // a part of it; "" for none
	}{
		"the same name":                   {[]Known{{Name: "SPEN"}}, "SPEN", nil, ""},
		"in another case":                 {[]Known{{Name: "spen "}}, "SPEN", nil, ""},
		"under an alias":                  {[]Known{{Name: "SPEN", Aliases: []string{"SP Energy Networks"}}}, "SP energy networks", nil, ""},
		"by its id":                       {[]Known{{Name: "SPEN", Aliases: []string{"dno-12"}}}, "dno-12", nil, ""},
		"another name":                    {[]Known{{Name: "SPEN"}}, "SP Energy Networks", nil, "SP Energy Networks"},
		"no rules at all":                 {nil, "SP Energy Networks", nil, ""},
		"a contract of another site's":    {[]Known{{Name: "SPEN"}}, "UKPN", []flex.AssetID{"elsewhere"}, ""},
		"no name, but that of the tender": {[]Known{{Name: "tenderer"}}, "", nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			clocktest.Bubble(t, func(t *testing.T) {
				r, _ := newSyncRig()
				r.market.obs[0].Operator = tc.market
				r.market.comps["c1"] = flex.Competition{ID: "c1", Operator: "tenderer"}
				s := NewSync(SyncConfig{Market: r.market, Book: r.book, Clock: fakeClock{}, Health: r.notes, Log: r.log, Operators: tc.rules, Ours: tc.ours})
				runSync(t, s)
				synctest.Wait()
				if raised := r.notes.raised(CodeOperatorUnmatched); raised != (tc.alarm != "") || raised && !strings.Contains(r.notes.text(CodeOperatorUnmatched), tc.alarm) {
					t.Fatalf("raised %v: %s", raised, r.notes.text(CodeOperatorUnmatched))
				}
				if tc.alarm == "" {
					return
				}
				r.market.set(func() { r.market.obs[0].Operator = tc.rules[0].Name })
				s.Wake()
				pass10()
				if r.notes.raised(CodeOperatorUnmatched) {
					t.Error("it stays although the names fit now")
				}
			})
		})
	}
}

func pass10() {
	time.Sleep(2 * syncGap)
	synctest.Wait()
}
