package agent

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
	"flexd/agent/local"
)

// Why explains an asset or a device at an instant.
func (v *view) Why(ctx context.Context, subject string, at time.Time) (local.Why, error) {
	ids, assets, err := v.subjects(subject)
	if err != nil {
		return local.Why{}, err
	}
	now, _ := v.a.wall.Now()
	out := local.Why{Subject: subject, At: at, Now: at.IsZero(), Devices: []local.Reasons{}}
	if out.Now {
		out.At = now
	}
	if out.At.After(now.Add(time.Second)) {
		return out, flex.Refuse(flex.ReasonBadField, "%s has not come yet", out.At.UTC().Format(time.RFC3339))
	}
	got := v.a.why.At(out.At)
	out.Running, out.Seen, out.Oldest = got.Running, got.Seen, got.Oldest
	status := map[flex.DeviceID]flex.DeviceStatus{}
	if out.Now {
		for _, d := range v.a.control.Status() {
			status[d.ID] = d
		}
		if out.Holds, err = v.a.db.Holds(ctx); err != nil {
			return out, fmt.Errorf("cannot read the holds: %w", err)
		}
		out.Holds = slices.DeleteFunc(out.Holds, func(h flex.Hold) bool { return h.Asset != "" && !slices.Contains(assets, h.Asset) })
	}
	asked := map[flex.InstructionID]bool{}
	for _, id := range ids {
		s, known := got.Targets[id]
		r := local.Reasons{Device: id, Known: known, Target: s.Target, Since: s.Since}
		if !known {
			r.Target = flex.Target{Device: id, Order: flex.OrderNone}
		}
		if st, ok := status[id]; ok {
			r.Status = &st
			if lease := st.Target.Revert; lease > 0 && !st.Proof.Refreshed.IsZero() && st.Held {
				r.Lapses = st.Proof.Refreshed.Add(lease)
			}
		}
		for _, d := range r.Target.Dispatch {
			asked[d] = true
		}
		out.Devices = append(out.Devices, r)
	}
	for id, s := range got.Short {
		if asked[id] {
			out.Short = append(out.Short, local.Missing{Instruction: id, Missing: s.Missing, Reason: s.Reason, Text: s.Text})
		}
	}
	slices.SortFunc(out.Short, func(a, b local.Missing) int { return cmp.Compare(a.Instruction, b.Instruction) })
	return out, nil
}

// subjects are the devices of an asset, or the device itself, and the assets
// they belong to.
func (v *view) subjects(subject string) (ids []flex.DeviceID, assets []flex.AssetID, err error) {
	var known []string
	for _, a := range v.a.conf.cfg.Assets {
		known = append(known, string(a.MarketID))
		if string(a.MarketID) == subject {
			return a.Devices, []flex.AssetID{a.MarketID}, nil
		}
	}
	for _, d := range v.a.conf.cfg.Devices {
		if d.Role == flex.RoleMeter {
			continue
		}
		known = append(known, string(d.ID))
		if string(d.ID) != subject {
			continue
		}
		for _, a := range v.a.conf.cfg.Assets {
			if slices.Contains(a.Devices, d.ID) {
				assets = append(assets, a.MarketID)
			}
		}
		return []flex.DeviceID{d.ID}, assets, nil
	}
	return nil, nil, flex.Refuse(flex.ReasonUnknownAsset, "there is no asset or controllable device %q; there are: %v", subject, known)
}
