package flex

import (
	"slices"
	"time"
)

// Outranks tells that the dispatch has an asset before another while both want
// it: the other waits, and goes on afterwards. Of one contract the later
// instruction supersedes the earlier, and a rehearsal waits for nothing.
func (d Dispatch) Outranks(o Dispatch) bool {
	return d.Priority > o.Priority && d.Obligation != o.Obligation && d.Use != UseNormal && o.Use != UseNormal
}

// Outranking finds what has an asset of the dispatch before it at an instant.
func (d Dispatch) Outranking(all []Dispatch, asset AssetID, at time.Time) (by Dispatch, ok bool) {
	for i := range all {
		o := &all[i]
		if o.Priority > d.Priority && o.Outranks(d) && o.Wants(at) && o.names(asset) && (!ok || o.Priority > by.Priority) {
			by, ok = *o, true
		}
	}
	return by, ok
}

// names tells whether the dispatch has a share of the asset.
func (d Dispatch) names(asset AssetID) bool {
	return slices.ContainsFunc(d.Shares, func(sh AssetShare) bool { return sh.Asset == asset })
}
