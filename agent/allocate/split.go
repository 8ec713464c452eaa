package allocate

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"
	"strings"

	"flexd/agent/flex"
)

// Grain is the smallest part that a split hands out: the market states
// capacities in MW with five decimals, that is 10 W.
const Grain flex.Watts = 10

// Weight is the capacity of one asset that an instruction names.
type Weight struct {
	Asset    flex.AssetID
	Capacity flex.Watts
}

// Split divides total over the assets in proportion to their capacities, by
// largest remainder in grains of 10 W; what is finer than a grain goes to the
// largest. It gives every site the same answer: the order of the weights does
// not matter, and the sum is exact. The shares come back ordered by asset.
func Split(total flex.Watts, weights []Weight) ([]flex.AssetShare, error) {
	ws := sorted(weights)
	parts := make([]part, len(ws))
	for i, w := range ws {
		if w.Capacity < 0 || w.Capacity > flex.MaxPower {
			return nil, fmt.Errorf("capacity %v of asset %s is out of range", w.Capacity, w.Asset)
		}
		if i > 0 && ws[i-1].Asset == w.Asset {
			return nil, fmt.Errorf("asset %s is named twice", w.Asset)
		}
		parts[i] = part{key: string(w.Asset), weight: uint64(w.Capacity)}
	}
	if total.Abs() > flex.MaxPower {
		return nil, fmt.Errorf("power %v is out of range", total)
	}
	given, ok := new(splitter).apportion(total.Abs(), Grain, parts)
	if !ok {
		return nil, fmt.Errorf("no capacity is known for any of %d assets", len(ws))
	}
	out := make([]flex.AssetShare, len(ws))
	for i, w := range ws {
		p := given[i]
		if total < 0 {
			p = -p
		}
		out[i] = flex.AssetShare{Asset: w.Asset, Power: p}
	}
	return out, nil
}

// Hash names the capacities used for a split, so that diverging sites are
// seen: SHA-256 over "asset=watts" lines in the order of the assets.
func Hash(weights []Weight) string {
	var b strings.Builder
	for _, w := range sorted(weights) {
		fmt.Fprintf(&b, "%s=%d\n", w.Asset, int64(w.Capacity))
	}
	sum := sha256.Sum256([]byte(b.String()))
	return hex.EncodeToString(sum[:])
}

func sorted(weights []Weight) []Weight {
	ws := slices.Clone(weights)
	slices.SortFunc(ws, func(a, b Weight) int {
		return cmp.Or(cmp.Compare(a.Asset, b.Asset), cmp.Compare(a.Capacity, b.Capacity))
	})
	return ws
}

// part takes part in an apportionment.
type part struct {
	key    string
	weight uint64
}

// splitter divides, with lists that it uses again: what it returns holds until
// the next call of the same method.
type splitter struct {
	given, out []flex.Watts
	remainders []uint64
	order      []int
	parts      []part
}

// apportion divides total (≥ 0) by weight, largest remainder, ties to the
// smaller key. It tells ok = false when no part has a weight.
func (x *splitter) apportion(total, grain flex.Watts, parts []part) (given []flex.Watts, ok bool) {
	x.given = cleared(x.given, len(parts))
	given = x.given
	var sum uint64
	largest := -1
	for i, p := range parts {
		sum += p.weight
		if p.weight > 0 && (largest < 0 || heavier(p, parts[largest])) {
			largest = i
		}
	}
	if largest < 0 {
		return given, false
	}
	units := uint64(total / grain)
	rest := units
	x.remainders = cleared(x.remainders, len(parts))
	remainders, order := x.remainders, x.order[:0]
	for i, p := range parts {
		if p.weight == 0 {
			continue
		}
		hi, lo := bits.Mul64(units, p.weight)
		q, r := bits.Div64(hi, lo, sum) // hi < sum because weight ≤ sum and units < 2^64
		given[i] = flex.Watts(q) * grain
		remainders[i] = r
		rest -= q
		order = append(order, i)
	}
	x.order = order
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(remainders[b], remainders[a]), cmp.Compare(parts[a].key, parts[b].key))
	})
	for _, i := range order[:min(int(rest), len(order))] {
		given[i] += grain
	}
	given[largest] += total % grain
	return given, true
}

// cleared is a list of n zeros in the place of old.
func cleared[T any](old []T, n int) []T {
	if cap(old) < n {
		return make([]T, n)
	}
	old = old[:n]
	clear(old)
	return old
}

func heavier(a, b part) bool {
	return a.weight > b.weight || a.weight == b.weight && a.key < b.key
}

// demand is one device's bound and weight in a fill.
type demand struct {
	key    string
	weight uint64
	room   flex.Watts // ≥ 0
}

// fill divides total (≥ 0) by weight without exceeding any room; what one
// cannot take goes to the others. What nobody can take is left out.
func (x *splitter) fill(total flex.Watts, ds []demand) []flex.Watts {
	x.out = cleared(x.out, len(ds))
	out := x.out
	for total > 0 {
		x.parts = cleared(x.parts, len(ds))
		parts := x.parts
		for i, d := range ds {
			if out[i] < d.room {
				parts[i] = part{key: d.key, weight: max(1, d.weight)}
			}
		}
		given, ok := x.apportion(total, Grain, parts)
		if !ok {
			return out
		}
		for i, d := range ds {
			take := min(given[i], d.room-out[i])
			out[i] += take
			total -= take
		}
	}
	return out
}
