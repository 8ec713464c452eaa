package telemetry

import (
	"encoding/json"
	"slices"
	"strconv"

	"flexd/agent/flex"
)

// body is a batch as it is sent, the same as shown.Marshal would write it. There
// are thousands of batches behind an outage, of thousands of numbers each, and
// a gateway has little memory for what is thrown away.
func body(b Batch) (json.RawMessage, error) {
	from, err := json.Marshal(b.From)
	if err != nil {
		return nil, err
	}
	samples := 0
	for _, t := range b.Tracks {
		samples += len(t.Offset)
	}
	out := slices.Grow([]byte(nil), 64+64*len(b.Tracks)+20*samples)
	out = append(append(append(out, `{"from":`...), from...), `,"tracks":`...)
	if b.Tracks == nil {
		return append(out, `null}`...), nil
	}
	out = append(out, '[')
	for i, t := range b.Tracks {
		if i > 0 {
			out = append(out, ',')
		}
		name, err := json.Marshal(t.Device)
		if err != nil {
			return nil, err
		}
		out = append(append(append(out, `{"device":`...), name...), `,"t":`...)
		out = numbers(out, t.Offset, func(out []byte, o float64) []byte { return strconv.AppendFloat(out, o, 'f', -1, 64) })
		out = append(out, `,"power":`...)
		out = numbers(out, t.Power, func(out []byte, w *flex.Watts) []byte {
			if w == nil {
				return append(out, `null`...)
			}
			return strconv.AppendInt(out, int64(*w), 10)
		})
		if len(t.SoC) > 0 {
			out = append(out, `,"soc_percent":`...)
			out = numbers(out, t.SoC, func(out []byte, p *flex.Percent) []byte {
				if p == nil {
					return append(out, `null`...)
				}
				return strconv.AppendFloat(out, float64(*p)/100, 'f', -1, 64)
			})
		}
		out = append(out, '}')
	}
	return append(out, `]}`...), nil
}

func numbers[T any](out []byte, list []T, one func([]byte, T) []byte) []byte {
	if list == nil {
		return append(out, `null`...)
	}
	out = append(out, '[')
	for i, v := range list {
		if i > 0 {
			out = append(out, ',')
		}
		out = one(out, v)
	}
	return append(out, ']')
}
