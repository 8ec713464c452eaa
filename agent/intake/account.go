package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"flexd/agent/flex"
)

// maxNamed is how many ids an alarm lists.
const maxNamed = 10

// account holds the configuration against the market's account: an asset that
// the account does not have would never be instructed, and one that nobody
// serves would never answer. It is only called with a whole list of contracts
// whose assets were fetched; again tells that the market should be asked a
// second time, since one answer with a hole in it proves nothing.
func (s *Sync) account(ctx context.Context, listed []flex.Obligation, now time.Time) (again bool) {
	named := map[flex.AssetID][]flex.ObligationID{}
	for _, o := range listed {
		if o.EndDate != "" && o.EndDate <= now.UTC().Format(time.DateOnly) {
			continue
		}
		for _, a := range o.Assets {
			named[a] = append(named[a], o.ID)
		}
	}
	for _, id := range s.cfg.Ours {
		if len(named[id]) > 0 {
			delete(s.absent, id)
			s.cfg.Health.Clear(CodeAssetUnknown, string(id))
			s.cfg.Health.Clear(CodeAssetUncontracted, string(id))
			continue
		}
		again = s.unnamed(ctx, id, named) || again
	}
	s.unserved(named)
	return again
}

// unnamed looks for an asset of ours that no contract names.
func (s *Sync) unnamed(ctx context.Context, id flex.AssetID, named map[flex.AssetID][]flex.ObligationID) (again bool) {
	key := "asset/" + string(id)
	if !s.due(key, s.absent[id] > 0) {
		return false
	}
	_, err := s.cfg.Market.Asset(ctx, id)
	switch {
	case err == nil:
		s.detailed[key] = time.Now()
		delete(s.absent, id)
		s.cfg.Health.Clear(CodeAssetUnknown, string(id))
		s.cfg.Health.Raise(CodeAssetUncontracted, string(id), fmt.Sprintf("the market knows asset %s, and no contract of today or later names it: nothing will be asked of it", id))
	case errors.Is(err, flex.ErrNothingThere):
		if s.absent[id]++; s.absent[id] < missedFor {
			return true
		}
		s.detailed[key] = time.Now()
		s.cfg.Health.Clear(CodeAssetUncontracted, string(id))
		s.cfg.Health.Raise(CodeAssetUnknown, string(id), fmt.Sprintf("the market's account has no asset %s: nothing will ever be asked of it; check market_id%s", id, s.instead(named)))
	default:
		s.cfg.Log.Debug("cannot ask the market for an asset", "asset", id, "error", err)
	}
	return false
}

// instead names the account's assets that the configuration does not list.
func (s *Sync) instead(named map[flex.AssetID][]flex.ObligationID) string {
	if rest := s.rest(named); len(rest) > 0 {
		return ": its contracts name " + someOf(rest)
	}
	return ""
}

// unserved tells of assets in the account's contracts that this site does not
// serve. Other sites may: an account has many, and a site knows of none but
// itself. Only a contract that leaves this site out in part is worth a look.
func (s *Sync) unserved(named map[flex.AssetID][]flex.ObligationID) {
	rest := s.rest(named)
	if len(rest) == 0 {
		s.cfg.Health.Clear(CodeAssetElsewhere, "")
		return
	}
	s.cfg.Health.Raise(CodeAssetElsewhere, "", fmt.Sprintf("%d asset(s) of the account's contracts are not in this site's configuration: %s; other sites must serve them, else nobody answers for them",
		len(rest), someOf(rest)))
}

func (s *Sync) rest(named map[flex.AssetID][]flex.ObligationID) []string {
	var out []string
	for id := range named {
		if !slices.Contains(s.cfg.Ours, id) {
			out = append(out, string(id))
		}
	}
	slices.Sort(out)
	return out
}

// someOf lists ids, within bounds.
func someOf(ids []string) string {
	if len(ids) > maxNamed {
		return fmt.Sprintf("%s and %d more", strings.Join(ids[:maxNamed], ", "), len(ids)-maxNamed)
	}
	return strings.Join(ids, ", ")
}
