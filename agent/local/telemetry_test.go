package local

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"flexd/agent/flex"
)

// measured gives so many samples, and then an end of its own.
type measured struct {
	n    int
	fail error
	got  SampleQuery
}

func (m *measured) Samples(_ context.Context, q SampleQuery, fn func(Sample) error) error {
	m.got = q
	for i := range m.n {
		p := flex.Watts(i)
		if err := fn(Sample{At: time.Unix(int64(i), 0).UTC(), Device: "d", Power: &p, SoC: new(flex.Percent)}); err != nil {
			return err
		}
	}
	return m.fail
}

func TestSamplesAreStreamed(t *testing.T) {
	m := &measured{n: 20_000}
	c := serveParts(t, Parts{Sampled: m, Zone: "Europe/London"})
	q := SampleQuery{From: time.Unix(1, 5).UTC(), To: time.Unix(9, 0).UTC(), Device: "a b"}
	n := 0
	err := c.Samples(t.Context(), q, func(s Sample) error {
		if s.At.Unix() != int64(n) || int(*s.Power) != n || s.Device != "d" || *s.SoC != 0 {
			t.Fatalf("%d: %+v", n, s)
		}
		n++
		return nil
	})
	if err != nil || n != m.n || m.got != q || c.Zone().String() != "Europe/London" {
		t.Errorf("%d samples, %v, asked for %+v", n, err, m.got)
	}
	stop := errors.New("enough")
	if err := c.Samples(t.Context(), q, func(Sample) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("%v", err)
	}
	m.fail = errors.New("a disk that is gone")
	if err := c.Samples(t.Context(), q, func(Sample) error { return nil }); err == nil || !strings.Contains(err.Error(), "a disk that is gone") {
		t.Errorf("a stream that ends early passes for whole: %v", err)
	}
	resp, err := c.stream(t.Context(), "/v1/telemetry?from=yesterday")
	if err == nil {
		_ = resp.Body.Close()
		t.Error("yesterday is an instant")
	}
}
