package flex

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// WattSeconds is energy as it is counted, positive towards the grid.
type WattSeconds int64

// String is in kWh, to the watt-hour.
func (e WattSeconds) String() string { return fmt.Sprintf("%.3f kWh", float64(e)/3.6e6) }

// Energy is what one asset was asked for within a dispatch and what it gave.
type Energy struct {
	Asset AssetID `json:"asset"`
	// Account tells apart what was counted in several pieces: a restart begins
	// a new one.
	Account   int64       `json:"account,omitempty"`
	Asked     WattSeconds `json:"asked_ws"`
	Delivered WattSeconds `json:"delivered_ws"`
	// Unmeasured is the part of Asked that was asked for while nothing was read.
	Unmeasured WattSeconds `json:"unmeasured_ws,omitempty"`
	Followed   Seconds     `json:"followed_s"` // for so long was it counted
	By         string      `json:"by,omitempty"`
}

// Seconds is a duration as JSON tells it.
type Seconds float64

// InSeconds is the duration to the millisecond.
func InSeconds(d time.Duration) Seconds { return Seconds(float64(d.Milliseconds()) / 1000) }

// Duration is the other way round.
func (s Seconds) Duration() time.Duration {
	return time.Duration(float64(s)*float64(time.Second) + 0.5).Round(time.Millisecond)
}

// Counted takes over the present state of the accounts that are being counted.
func (r Record) Counted(now []Energy) Record {
	if len(now) == 0 {
		return r
	}
	list := slices.Clone(r.Energy)
	for _, e := range now {
		i := slices.IndexFunc(list, func(o Energy) bool { return o.Asset == e.Asset && o.Account == e.Account })
		if i < 0 {
			list = append(list, e)
			continue
		}
		list[i] = e
	}
	r.Energy = list
	return r
}

// EnergyTotal is the energy of each asset over all its accounts, by asset.
func EnergyTotal(accounts []Energy) []Energy {
	var out []Energy
	for _, e := range accounts {
		e.Account = 0
		i := slices.IndexFunc(out, func(o Energy) bool { return o.Asset == e.Asset })
		if i < 0 {
			out = append(out, e)
			continue
		}
		t := &out[i]
		t.Asked += e.Asked
		t.Delivered += e.Delivered
		t.Unmeasured += e.Unmeasured
		t.Followed = InSeconds(t.Followed.Duration() + e.Followed.Duration())
		if t.By != e.By {
			t.By = strings.Trim(t.By+"; "+e.By, "; ")
		}
	}
	slices.SortFunc(out, func(a, b Energy) int { return strings.Compare(string(a.Asset), string(b.Asset)) })
	return out
}

// Unfollowed is for how long of its asking time nobody counted: flexd did not run.
func (r Record) Unfollowed(e Energy) time.Duration {
	end := r.Ends()
	if end.IsZero() || !end.After(r.Window.Start) {
		return 0
	}
	if gap := end.Sub(r.Window.Start) - e.Followed.Duration(); gap > 2*time.Second {
		return gap
	}
	return 0
}
