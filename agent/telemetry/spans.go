package telemetry

import (
	"encoding/binary"
	"errors"
	"slices"
)

// span is a run of numbers, both ends included.
type span struct{ low, high uint64 }

// spans are numbers, as runs in rising order that do not touch.
type spans []span

// mostSpans bounds the runs that are kept: beyond it the narrowest gap is
// closed, and what lies in it is sent again.
const mostSpans = 64

func (s spans) add(low, high uint64) spans {
	if low > high {
		return s
	}
	var out spans
	placed := false
	for _, x := range s {
		switch {
		case x.high != ^uint64(0) && x.high+1 < low:
			out = append(out, x)
		case high != ^uint64(0) && high+1 < x.low:
			if !placed {
				out, placed = append(out, span{low, high}), true
			}
			out = append(out, x)
		default:
			low, high = min(low, x.low), max(high, x.high)
		}
	}
	if !placed {
		out = append(out, span{low, high})
		slices.SortFunc(out, func(a, b span) int {
			if a.low < b.low {
				return -1
			}
			return 1
		})
	}
	for len(out) > mostSpans {
		out = out.closeNarrowest()
	}
	return out
}

func (s spans) closeNarrowest() spans {
	at := 1
	for i := 1; i < len(s); i++ {
		if s[i].low-s[i-1].high < s[at].low-s[at-1].high {
			at = i
		}
	}
	s[at-1].high = s[at].high
	return slices.Delete(s, at, at+1)
}

func (s spans) remove(low, high uint64) spans {
	var out spans
	for _, x := range s {
		if x.high < low || x.low > high {
			out = append(out, x)
			continue
		}
		if x.low < low {
			out = append(out, span{x.low, low - 1})
		}
		if x.high > high {
			out = append(out, span{high + 1, x.high})
		}
	}
	for len(out) > mostSpans {
		out = out.closeNarrowest()
	}
	return out
}

func (s spans) has(n uint64) bool {
	return slices.ContainsFunc(s, func(x span) bool { return x.low <= n && n <= x.high })
}

func (s spans) count() (n uint64) {
	for _, x := range s {
		n += x.high - x.low + 1
	}
	return n
}

// encode writes them behind the number up to which they tell something.
func (s spans) encode(upto uint64) []byte {
	out := binary.AppendUvarint(nil, upto)
	for _, x := range s {
		out = binary.AppendUvarint(binary.AppendUvarint(out, x.low), x.high)
	}
	return out
}

func decodeSpans(raw []byte) (s spans, upto uint64, err error) {
	r := &reader{raw: raw}
	upto = r.uint()
	for len(r.raw) > 0 {
		s = s.add(r.uint(), r.uint())
	}
	if r.bad {
		return nil, 0, errors.New("a cursor is damaged")
	}
	return s, upto, nil
}
