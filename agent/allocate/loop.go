package allocate

import (
	"fmt"
	"slices"
	"time"

	"flexd/agent/flex"
)

// The loop of an asset that is held by its meter. The meter shows the devices
// and all that is not controlled (the house, panels): meter = devices + rest.
// The rest is estimated from pairs of the two, and the devices are asked for
// what is wanted at the meter less the rest. There is no integral that could
// wind up: whatever clips the devices is seen in what they give.
//
// Meter and devices are read at different times and lag by up to seconds, so
// that a pair taken while the devices move says little. Pairs count once the
// devices have stood still for as long as the lag may be; those that agree with
// the newest are averaged, so that noise is small and a kettle is followed
// within two samples.
const (
	loopLag     = 5 * time.Second  // of meter against devices, at most
	loopKeep    = 12 * time.Second // pairs are remembered
	loopMost    = 64               // of them
	loopPatient = 20 * time.Second // devices that never stand still are believed by and by
	loopGain    = 4                // then a pair moves the estimate by one part in so many
	bandLeast   = flex.Watts(50)   // smaller errors wait until they add up
	bandPart    = 200              // or one part in so many of what is asked
	bandFor     = 20 * time.Second // an error of the band may last so long before it is corrected
	rateOver    = 2 * time.Second  // a correction of the whole rating takes so long at least
)

// Codes of the loop.
const (
	// AlarmMeterLost says that an asset is controlled without its meter.
	AlarmMeterLost = "meter_lost"
)

// Loop is what the control of one asset by its meter remembers. It is plain
// data, W, + towards the grid.
type Loop struct {
	Pairs  []Pair
	Rest   flex.Watts // estimate of what is not controlled
	Known  bool       // there is an estimate
	RestAt time.Time  // of the last pair in it
	Wish   flex.Watts // asked of the devices together
	At     time.Time  // the wish was last looked at
	Owed   float64    // error that waits for its correction, Ws
	For    flex.Watts // what was wanted at the meter
	Active bool       // a dispatch is held
}

// Pair is the meter and the devices at one time, as far as that can be said.
type Pair struct {
	At      time.Time // of the meter's sample
	Meter   flex.Watts
	Devices flex.Watts
}

func (p Pair) rest() flex.Watts { return p.Meter - p.Devices }

// loops follows every asset with a meter of its own, dispatched or not, so that
// the first watt of a dispatch is right.
func (w *work) loops() {
	for i := range w.in.Assets {
		a := &w.in.Assets[i]
		if a.Control != Meter {
			continue
		}
		l := w.in.State.Loops[a.ID]
		l.Pairs = slices.Clone(l.Pairs)
		w.observe(a, &l)
		if w.state.Loops == nil {
			w.state.Loops = map[flex.AssetID]Loop{}
		}
		w.state.Loops[a.ID] = l
	}
}

// loopDevices sums what the asset's controllable devices give. What does not
// answer any more is part of the rest; while one was never read nothing can be
// said.
func (w *work) loopDevices(a *Asset) (sum, rating flex.Watts, known bool) {
	known = true
	for _, id := range a.Devices {
		s, ok := w.byID[id]
		if !ok || !s.storage() {
			continue
		}
		p := s.dev.Plate
		rating += max(p.MaxPower, p.MaxCharge, p.MaxDischarge)
		if s.measured != nil && !s.offline {
			sum += *s.measured
		}
		known = known && s.dev.Reading != nil
	}
	return sum, rating, known
}

// observe takes the meter's newest sample into the estimate.
func (w *work) observe(a *Asset, l *Loop) {
	m := a.Meter
	if m == nil || m.Power == nil || !m.Fresh(w.in.Now, meterAfter) {
		return
	}
	if n := len(l.Pairs); n > 0 && !m.At.After(l.Pairs[n-1].At) {
		return
	}
	devices, rating, known := w.loopDevices(a)
	if !known {
		return
	}
	l.Pairs = append(l.Pairs, Pair{At: m.At, Meter: *m.Power, Devices: devices})
	l.Pairs = slices.DeleteFunc(l.Pairs, func(p Pair) bool { return m.At.Sub(p.At) > loopKeep })
	l.Pairs = l.Pairs[max(0, len(l.Pairs)-loopMost):]
	still := max(2*bandLeast, rating/100)
	newest := l.Pairs[len(l.Pairs)-1]
	switch mean, ok := agreeing(l.Pairs, still); {
	case !l.Known:
		l.Rest, l.Known, l.RestAt = newest.rest(), true, m.At
	case ok:
		l.Rest, l.RestAt = mean, m.At
	case m.At.Sub(l.RestAt) > loopPatient:
		l.Rest += (newest.rest() - l.Rest) / loopGain
	}
}

// agreeing is the mean rest of the newest pairs that agree, once the devices
// have been seen to stand still for as long as the meter may be behind them.
func agreeing(pairs []Pair, still flex.Watts) (flex.Watts, bool) {
	newest := pairs[len(pairs)-1]
	var sum, n flex.Watts
	var since time.Duration
	together := true
	for _, p := range slices.Backward(pairs) {
		age := newest.At.Sub(p.At)
		if (p.Devices - newest.Devices).Abs() > still {
			break // they moved after it
		}
		since = age
		if together = together && age <= loopLag && (p.rest()-newest.rest()).Abs() <= still; together {
			sum, n = sum+p.rest(), n+1
		}
	}
	alone := n == 1 && len(pairs) > 1 && newest.At.Sub(pairs[len(pairs)-2].At) < loopLag/2
	if since < loopLag || alone { // a single one of many may be a spike
		return 0, false
	}
	return sum / n, true
}

// byMeterOf is what the devices of an asset are asked for together, so that
// its meter shows what is wanted. claims are those of the asset, share their
// sum.
func (w *work) byMeterOf(a *Asset, share, reference flex.Watts) (wish flex.Watts, text note) {
	l := w.state.Loops[a.ID]
	defer func() { l.At, l.Active = w.in.Now, true; w.state.Loops[a.ID] = l }()
	target := reference + share
	lost := a.Meter == nil || a.Meter.Power == nil || !a.Meter.Fresh(w.in.Now, meterAfter)
	wrong := w.state.StaticLimit && a.SiteMeter
	switch {
	case wrong || !l.Known:
		l.Wish, l.Owed, l.For = share, 0, target
		w.loopAlarm(a, "its meter shows nothing to go by: its devices are asked for what was instructed")
		return share, plain("without its meter")
	case lost:
		w.loopAlarm(a, fmt.Sprintf("its meter has not been read for more than %v: the last known rest of %v is taken", meterAfter, l.Rest))
		if !l.Active || l.For != target {
			l.Wish = a.over(target-l.Rest, share)
		}
		l.For, l.Owed = target, 0
		return l.Wish, say("its meter is lost, the rest was %v", watts(l.Rest))
	}
	exact := a.over(target-l.Rest, share)
	if !l.Active || l.For != target {
		l.Wish, l.Owed = exact, 0 // feed forward: at the start, and when another power is wanted
	} else {
		l.correct(exact, w.in.Now, w.loopRating(a))
	}
	l.For = target
	if reference != 0 {
		return l.Wish, say("its meter shall show %v, from a baseline of %v; %v are not ours", watts(target), watts(reference), watts(l.Rest))
	}
	return l.Wish, say("its meter shall show %v; %v are not ours", watts(target), watts(l.Rest))
}

// over is the wish when more than asked is free: never less than the share.
func (a *Asset) over(wish, share flex.Watts) flex.Watts {
	if !a.Free {
		return wish
	}
	if share > 0 {
		return max(wish, share)
	}
	return min(wish, share)
}

// correct moves the wish towards what is exact: at once when it is off by more
// than the band, else when the error has added up.
func (l *Loop) correct(exact flex.Watts, now time.Time, rating flex.Watts) {
	dt := max(0, now.Sub(l.At).Seconds())
	miss := exact - l.Wish
	band := max(bandLeast, l.For.Abs()/bandPart)
	l.Owed += float64(miss) * dt
	if limit := float64(band) * bandFor.Seconds(); miss.Abs() <= band && l.Owed < limit && l.Owed > -limit {
		return
	}
	if rating > 0 {
		most := max(Grain, flex.Watts(float64(rating)*max(dt, 1)/rateOver.Seconds()))
		miss = miss.Clamp(-most, most)
	}
	l.Wish += miss
	l.Owed = 0
}

func (w *work) loopRating(a *Asset) flex.Watts {
	_, rating, _ := w.loopDevices(a)
	return rating
}

func (w *work) loopAlarm(a *Asset, text string) {
	w.alarms = append(w.alarms, Alarm{Code: AlarmMeterLost, Subject: string(a.ID), Text: fmt.Sprintf("asset %s: %s", a.ID, text)})
}

// idleLoops ends the loops of assets that nobody asks for.
func (w *work) idleLoops() {
	for id, l := range w.state.Loops {
		if l.Active && !l.At.Equal(w.in.Now) {
			l.Active, l.Owed = false, 0
			w.state.Loops[id] = l
		}
	}
}
