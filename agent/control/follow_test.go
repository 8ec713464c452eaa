package control

import (
	"testing"
	"time"
)

// A setpoint that is relative to what moves by itself is told with every
// sample, and no oftener: on a slow line the writes would keep the samples
// waiting that they rest on.
func TestASetpointThatFollowsIsToldOncePerSample(t *testing.T) {
	for _, tc := range []struct {
		name        string
		slow        time.Duration
		least, most int // times told in a minute
	}{
		{"a fast line", 0, 50, 62},
		{"a slow line", 4 * time.Second, 11, 14},
	} {
		t.Run(tc.name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				d := &device{id: "bat", follow: true, slow: tc.slow}
				r := newRig(t, nil, false, d)
				r.start()
				start := time.Now().Add(10 * time.Second)
				r.board.change(func(b *board) {
					b.running = append(b.running, wants("i1", d, 5000, start, start.Add(time.Minute)))
				})
				time.Sleep(69 * time.Second)
				if times, _ := d.log(); len(times) < tc.least || len(times) > tc.most {
					t.Errorf("told %d times in a minute, want %d to %d", len(times), tc.least, tc.most)
				}
				r.kill()
			})
		})
	}
}
