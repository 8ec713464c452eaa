package intake

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"flexd/agent/clock/clocktest"
	"flexd/agent/flex"
)

// An asset of the configuration that the account does not have is an alarm,
// only once the market said so twice; one in the account that this site does
// not serve is told.
func TestTheConfigurationIsHeldAgainstTheAccount(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		s.cfg.Ours = []flex.AssetID{"typo"}
		market := func(fn func(m *fakeMarket)) { r.market.mu.Lock(); fn(r.market); r.market.mu.Unlock() }
		market(func(m *fakeMarket) { m.obsErr = errors.New("503") })
		without := &absent{fakeMarket: r.market, err: errors.New("503")}
		s.cfg.Market = without
		runSync(t, s)
		time.Sleep(time.Hour)
		if r.notes.raised(CodeAssetUnknown) || r.notes.raised(CodeAssetElsewhere) {
			t.Fatal("told although the contracts were never fetched")
		}
		market(func(m *fakeMarket) { m.obsErr = nil })
		time.Sleep(time.Hour)
		if r.notes.raised(CodeAssetUnknown) {
			t.Fatal("told although the market did not say so")
		}
		market(func(*fakeMarket) { without.err, without.asked = fmt.Errorf("404: %w", flex.ErrNothingThere), 0 })
		for asked := 0; asked == 0; time.Sleep(time.Second) {
			market(func(*fakeMarket) { asked = without.asked })
		}
		if r.notes.raised(CodeAssetUnknown) {
			t.Error("told after a single answer")
		}
		time.Sleep(2 * time.Minute)
		if text := r.notes.text(CodeAssetUnknown); !strings.Contains(text, "typo: the market's account has no asset typo") || !strings.Contains(text, "its contracts name ours") {
			t.Errorf("alarm %q", text)
		}
		if text := r.notes.text(CodeAssetElsewhere); !strings.Contains(text, "1 asset(s)") || !strings.Contains(text, "ours") {
			t.Errorf("notice %q", text)
		}
		market(func(m *fakeMarket) { m.obs[0].Assets = []flex.AssetID{"typo"} })
		time.Sleep(time.Hour)
		if r.notes.raised(CodeAssetUnknown) || r.notes.raised(CodeAssetElsewhere) {
			t.Error("told although a contract names it now")
		}
	})
}

// absent is a market that knows no asset by its id.
type absent struct {
	*fakeMarket
	err   error
	asked int
}

func (a *absent) Asset(context.Context, flex.AssetID) (flex.MarketAsset, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked++
	return flex.MarketAsset{}, a.err
}

// One answer with a hole in it is no proof, and an asset that the market knows
// and no contract names is no alarm.
func TestOneAnswerWithAHoleIsNoAlarm(t *testing.T) {
	clocktest.Bubble(t, func(t *testing.T) {
		r, s := newSyncRig()
		r.market.assets["spare"] = flex.MarketAsset{ID: "spare"}
		s.cfg.Ours = []flex.AssetID{"spare"}
		s.absent["spare"] = 1 // the answer before
		runSync(t, s)
		time.Sleep(time.Hour)
		if r.notes.raised(CodeAssetUnknown) || !r.notes.raised(CodeAssetUncontracted) {
			t.Errorf("raised %v", r.notes.items)
		}
	})
}
